//! Programs run as children in the foreground, ended by their process id only.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::wait_for;

/// Lines of a program's log that are shown when the play has failed.
const TAIL: usize = 25;

/// Where an installed program is. Panics with the way to install it: the play is never skipped.
pub fn installed(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!("{program} is not installed, and this test needs it: `apt-get install nginx-light unbound` (as root)")
    })
}

/// A child. It is ended, and waited for, when this goes.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: bool,
}

impl Process {
    /// Starts `program`; what it says goes to `NAME.log` in `folder`.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        args: impl IntoIterator<Item = A>,
        folder: &Path,
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(program);
        command.args(args).current_dir(folder).stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn().unwrap_or_else(|e| panic!("{} can't be run: {e}", program.display()));
        Self { name: name.to_owned(), child, log, ended: false }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|e| panic!("{} can't be sent {signal:?}: {e}", self.name));
    }

    /// Waits for it to end by itself, or by a signal sent before.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let status = wait_for(&format!("{} has ended", self.name), within, || self.child.try_wait().unwrap());
        self.ended = true;
        status
    }

    /// Panics if it has ended.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            self.ended = true;
            panic!("{} has ended ({status}):\n{}", self.name, self.tail());
        }
    }

    /// The last lines that it said.
    fn tail(&self) -> String {
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<_> = said.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Not eprintln!: a second panic would abort, and leave the other children behind.
            _ = writeln!(std::io::stderr(), "--- the last that {} said:\n{}\n", self.name, self.tail());
        }
        if self.ended {
            return;
        }
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::TERM);
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
