//! The override file, for when the API can't be reached:
//! - what it says is in force within seconds, over the API's word, in status, audit and explain; also after a kill;
//! - a mistake is told by its line, and what the file said before stays; without the file the API's word is back.

mod support;

use std::fs;

use hickory_proto::rr::RecordType as T;
use support::dns::addresses;
use support::{DC1, EC2, HEAD, Server, pool};

const WWW: &str = "www.example.org";

#[test]
fn the_override_file_is_obeyed() {
    let config = format!("{HEAD}[overrides]\nfile = \"overrides\"\n{}", pool(WWW, 50, 50, ""));
    let mut server = Server::start(&config);
    let file = server.path().join("overrides");
    let write = |text: &str| fs::write(&file, text).unwrap();
    let given = |server: &Server| (0..40).map(|c| server.address_for(WWW, c)).collect::<Vec<_>>();
    let ec2 = |server: &Server| server.pool(WWW)["endpoints"][0].clone();
    assert!(given(&server).iter().any(|a| a == EC2));

    write("# the night of the move\n* ec2 down # by hand\n");
    server.wait_for("ec2 to be down by file", |s| ec2(s)["override_by_file"] == true);
    assert_eq!(ec2(&server)["override"], "down");
    assert!(given(&server).iter().all(|a| a == DC1));
    server.force(WWW, "ec2", "up").done();
    assert!(given(&server).iter().all(|a| a == DC1), "the file is stronger");
    let explained = server.get("/api/v1/explain?name=www.example.org&client=192.0.2.1")["steps"].to_string();
    assert!(explained.contains("ec2 is down by the word of the override file"), "{explained}");
    let audit = server.get("/api/v1/audit")["entries"].to_string();
    assert!(audit.contains("override-file") && audit.contains("\"author\":\"override file\""), "{audit}");

    write("* ec2 down\nwww dc1 off\n");
    server.wait_for("the mistake", |s| {
        s.status()["warnings"].to_string().contains("line 2: \\\"off\\\" must be up, down or obey")
    });
    assert!(given(&server).iter().all(|a| a == DC1), "what it said before stays");
    server.kill9();
    server.start_again();
    assert_eq!(addresses(&server.ask(WWW, T::A)), [DC1], "also over a kill, with the mistake still there");

    write("* * down\n");
    server.wait_for("the refusal", |s| s.status()["warnings"].to_string().contains("leave nothing to answer"));
    assert_eq!(addresses(&server.ask(WWW, T::A)), [DC1]);

    fs::remove_file(&file).unwrap();
    server.wait_for("the file's end", |s| ec2(s)["override_by_file"].is_null());
    assert_eq!(ec2(&server)["override"], "up", "the API's word is back");
    assert!(given(&server).iter().any(|a| a == EC2));
}
