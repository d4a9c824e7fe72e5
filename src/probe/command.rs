//! The `command` probe: a program of the operator's, run without a shell in a process group of its own.
//!
//! Exit code 0 is up, any other is down; the first line that it writes tells why. It is killed with all that it started
//! when its time is over. What it writes is read to the end but not kept, so that it never waits for us.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::failure::Failure;
use super::phases::Phases;

/// So much of what it writes is kept.
const MAX_KEPT_OCTETS: usize = 4096;
/// So many characters of its first line are told.
const MAX_TOLD_CHARACTERS: usize = 200;
/// What is written before the end may still be on its way then.
const LAST_WORDS: Duration = Duration::from_millis(20);
/// Where programs are looked for, whatever our own environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The program and its arguments; at least the program.
    pub argv: Vec<String>,
    /// Its environment beside PATH and LC_ALL: filled in for each target.
    pub(super) environment: Vec<(String, String)>,
}

impl Settings {
    /// Of a command that was not yet told whom it is about.
    pub fn new(argv: Vec<String>) -> Self {
        Self { argv, environment: Vec::new() }
    }
}

/// Runs it; what it said, if it ended with 0. There is no timeout of its own: dropped, it kills.
pub(super) async fn ask(settings: &Settings, phases: &mut Phases) -> Result<String, Failure> {
    phases.begin("run");
    let [program, arguments @ ..] = &*settings.argv else {
        return Err(cant_run(&io::ErrorKind::InvalidInput.into(), ""));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C.UTF-8")
        .envs(settings.environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| cant_run(&error, program))?;
    let _group = Group(child.id().and_then(|id| Pid::from_raw(id as i32)));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ended = {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let reading = async { tokio::join!(drain(stdout, &mut out), drain(stderr, &mut err)) };
        tokio::pin!(reading);
        let mut all_read = false;
        let ended = loop {
            tokio::select! {
                ended = child.wait() => break ended?,
                _ = &mut reading, if !all_read => all_read = true,
            }
        };
        if !all_read {
            // Whoever it left behind may keep its pipes open.
            _ = tokio::time::timeout(LAST_WORDS, reading).await;
        }
        ended
    };
    let said = first_line(&out).or_else(|| first_line(&err)).unwrap_or_default();
    let how = how(ended);
    phases.end(|| how.clone());
    let told = if said.is_empty() { how } else { format!("{how}: {said}") };
    if ended.success() { Ok(told) } else { Err(Failure::Command { told }) }
}

/// Says nothing about the endpoint.
fn cant_run(error: &io::Error, program: &str) -> Failure {
    Failure::Ours(io::Error::other(format!("{program:?} can't be run: {error}")))
}

/// A process group that ends with this.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            _ = kill_process_group(group, Signal::KILL); // mostly nobody is left
        }
    }
}

/// Reads to the end, keeps the beginning.
async fn drain(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut part = [0; 4096];
    while let Ok(octets @ 1..) = stream.read(&mut part).await {
        kept.extend_from_slice(&part[..octets.min(MAX_KEPT_OCTETS - kept.len())]);
    }
}

fn first_line(octets: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(octets);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(MAX_TOLD_CHARACTERS).collect())
}

fn how(ended: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (ended.code(), ended.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(script: &str) -> Result<String, String> {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let environment = vec![("WAYPOST_SITE".to_owned(), "ec2".to_owned())];
        let asked = ask(&Settings { argv, environment }, &mut Phases::unwatched()).await;
        asked.map_err(|failure| failure.to_string())
    }

    #[tokio::test]
    async fn the_exit_code_decides_and_the_first_line_tells() {
        assert_eq!(run("echo; echo fine at $WAYPOST_SITE; echo more").await.as_deref(), Ok("exit 0: fine at ec2"));
        assert_eq!(run("echo CRITICAL >&2; exit 2").await.unwrap_err(), "exit 2: CRITICAL");
        assert_eq!(run("kill -9 $$").await.unwrap_err(), "ended by signal 9");
        assert_eq!(run("echo $HOME$USER; pwd").await.as_deref(), Ok("exit 0: /"), "our environment is not its own");
        let long = run("head -c 300000 /dev/zero | tr '\\0' x; echo").await.unwrap();
        assert_eq!(long.len(), "exit 0: ".len() + MAX_TOLD_CHARACTERS);
    }

    #[tokio::test]
    async fn what_can_not_be_run_says_nothing_about_the_endpoint() {
        let settings = Settings::new(vec!["/nowhere/check".to_owned()]);
        let failure = ask(&settings, &mut Phases::unwatched()).await.unwrap_err();
        assert!(!failure.is_the_endpoints() && failure.to_string().contains("\"/nowhere/check\""), "{failure}");
    }

    #[tokio::test]
    async fn it_is_killed_with_all_that_it_started() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {0}.tmp; mv {0}.tmp {0}; wait", file.display());
        let cut_off = tokio::time::timeout(Duration::from_millis(100), run(&script));
        let started = std::time::Instant::now();
        let mut cut_off = Box::pin(cut_off);
        let pid = loop {
            // A busy machine may need longer to start it than it is given: then it was killed before.
            if (&mut cut_off).await.is_err() {
                cut_off = Box::pin(tokio::time::timeout(Duration::from_millis(500), run(&script)));
            }
            if let Ok(pid) = std::fs::read_to_string(&file) {
                break pid.trim().to_owned();
            }
            assert!(started.elapsed() < Duration::from_secs(20));
        };
        drop(cut_off);
        let gone = || {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        while !gone() {
            assert!(started.elapsed() < Duration::from_secs(20), "{pid} lives");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn whoever_it_leaves_behind_is_not_waited_for() {
        let began = std::time::Instant::now();
        assert_eq!(run("sleep 600 & echo done").await.as_deref(), Ok("exit 0: done"));
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
