//! A site: a real nginx that names itself, and can be told to fail.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::process::{Process, installed};
use super::wait::wait_for;

/// One site, at one address.
pub struct Nginx {
    process: Process,
    failing: PathBuf,
}

impl Nginx {
    /// Starts it and waits until it answers. Its pages say `name`, in the body and as `x-site`.
    pub fn start(name: &str, address: Ipv4Addr, port: u16, parent: &Path) -> Self {
        let folder = parent.join(name);
        fs::create_dir_all(&folder).unwrap();
        let failing = folder.join("failing");
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(name, address, port, &folder, &failing)).unwrap();
        let arg = |path: &Path| path.display().to_string();
        let args = ["-p".into(), arg(&folder), "-c".into(), arg(&file), "-e".into(), "stderr".into()];
        let mut process = Process::start(&format!("nginx-{name}"), &installed("nginx"), args, parent);
        wait_for(&format!("nginx {name} listens on {address}:{port}"), Duration::from_secs(10), || {
            process.assert_running();
            TcpStream::connect((address, port)).ok()
        });
        Self { process, failing }
    }

    /// From now on every page of it, and `/healthz`, is a 503.
    pub fn fail(&self) {
        fs::write(&self.failing, "").unwrap();
    }

    /// No more of that.
    pub fn recover(&self) {
        fs::remove_file(&self.failing).unwrap();
    }

    /// It lets go of its port at once, ends what it has begun, closes idle connections and ends.
    pub fn quit_gracefully(mut self) {
        self.process.signal(Signal::QUIT);
        let status = self.process.wait(Duration::from_secs(10));
        assert!(status.success(), "nginx did not quit gracefully: {status}");
    }
}

fn configuration(name: &str, address: Ipv4Addr, port: u16, folder: &Path, failing: &Path) -> String {
    // nginx that root starts would hand its worker to nobody, who may not look into this folder.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let (folder, failing) = (folder.display(), failing.display());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n"))
        .concat();
    format!(
        r#"daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{
    worker_connections 4096;
    multi_accept on;
}}
http {{
{temporary}    access_log off;
    default_type text/plain;
    keepalive_timeout 300s;
    keepalive_requests 1000000;
    server {{
        listen {address}:{port} backlog=1024;
        add_header x-site {name} always;
        if (-f {failing}) {{
            return 503 "{name} fails\n";
        }}
        location / {{
            return 200 "this is {name}\n";
        }}
        location = /healthz {{
            return 200 "ok\n";
        }}
    }}
}}
"#
    )
}
