//! What `--help` says of each subcommand, against tests/golden/help; `UPDATE_GOLDEN=1 cargo test --test help` writes it anew.

use std::path::Path;
use std::process::{Command, Stdio};

fn output(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_waypost"))
        .args(arguments)
        .env_remove("COLUMNS")
        .stdin(Stdio::null())
        .output()
        .expect("the binary under test can be run");
    let text = String::from_utf8(output.stdout).expect("help is UTF-8");
    (output.status.code().expect("it ended by itself"), text)
}

/// The subcommands that the help of the whole lists, so that none is forgotten here.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    let names = listed.filter(|l| l.starts_with("  ") && !l.starts_with("   "));
    names.filter_map(|l| l.split_whitespace().next()).filter(|n| *n != "help").map(ToOwned::to_owned).collect()
}

#[test]
fn each_subcommand_teaches_its_use() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help");
    let (code, whole) = output(&["--help"]);
    assert_eq!(code, 0);
    let mut pages = vec![("waypost".to_owned(), whole.clone())];
    for name in subcommands(&whole) {
        let (code, page) = output(&[&name, "--help"]);
        assert_eq!(code, 0, "{name}");
        pages.push((name, page));
    }
    assert!(pages.len() > 10, "{whole}");
    for (name, page) in pages {
        let file = folder.join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, &page).expect("the golden file can be written");
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(page, golden, "{} (UPDATE_GOLDEN=1 writes it anew)", file.display());
    }
}

#[test]
fn version_and_exit_codes() {
    let (code, text) = output(&["--version"]);
    assert_eq!((code, text.trim()), (0, concat!("waypost ", env!("CARGO_PKG_VERSION"))));
    assert_eq!(output(&["flip", "--percent", "lots"]).0, 2);
    assert_eq!(output(&["nonsense"]).0, 2);
    assert_eq!(output(&["status", "--token-file", "/nonexistent/token"]).0, 1);
}
