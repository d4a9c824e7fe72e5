//! A host of its own for programs that want port 53, or addresses that are no loopback ones: a network namespace, which needs
//! root. Nothing in it reaches anybody.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{SOON, waypost};

/// A network namespace with a loopback interface of its own, and a folder for what runs in it. Gone when this is dropped.
pub struct Host {
    name: String,
    pub folder: TempDir,
}

/// A program that runs there.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // NSD takes its children along when it is asked to end.
        _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let asked = Instant::now();
        while asked.elapsed() < SOON && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Host {
    pub fn new(test: &str) -> Self {
        let host = Self { name: format!("wp-{}-{test}", std::process::id()), folder: TempDir::new().unwrap() };
        for words in [&["netns", "add", &host.name][..], &["-n", &host.name, "link", "set", "lo", "up"]] {
            let output = Command::new("ip").args(words).output().expect("ip; see tests/setup.sh");
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        host
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).args(arguments);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program, arguments).output().unwrap()
    }

    pub fn start(&self, program: &str, arguments: &[&str]) -> Running {
        let log = fs::File::create(self.folder.path().join(format!("{}.log", file_name(program)))).unwrap();
        let mut command = self.command(program, arguments);
        Running(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    pub fn dig(&self, at: &str, arguments: &[&str]) -> String {
        let at = format!("@{at}");
        let output = self.run("dig", &[&[&at, "+tries=1", "+time=1", "+norec"], arguments].concat());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn wait_for(&self, at: &str, zone: &str) {
        let begun = Instant::now();
        while !self.dig(at, &[zone, "SOA"]).contains("status: NOERROR") {
            let logs = ["nsd.log", "waypost.log"].map(|l| fs::read_to_string(self.folder.path().join(l)));
            assert!(begun.elapsed() < SOON, "{at} does not answer for {zone} (tests/setup.sh): {logs:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Gives it the address 192.0.2.1, and a cable that leads nowhere: programs that look for a way out find one.
    pub fn plug_in(&self) {
        let add = ["link", "add", "out", "type", "veth", "peer", "name", "far"];
        let address = ["addr", "add", "192.0.2.1/24", "dev", "out"];
        let up = |name| ["link", "set", name, "up"];
        for words in [&add[..], &up("out"), &up("far"), &address, &["route", "add", "default", "dev", "out"]] {
            let output = Command::new("ip").args(["-n", &self.name]).args(words).output().unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    /// Starts `waypost serve`.
    pub fn serve(&self, config: &str) -> Running {
        let program = waypost().get_program().to_str().unwrap().to_owned();
        self.start(&program, &["serve", "--config", config])
    }

    /// Runs the command line of the server that runs here: what it printed.
    #[track_caller]
    pub fn waypost(&self, words: &str) -> String {
        let program = waypost().get_program().to_str().unwrap().to_owned();
        let output = self.run(&program, &words.split(' ').collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "waypost {words}: {said}");
        said
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn file_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}
