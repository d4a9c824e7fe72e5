//! Real programs for probes to ask, on loopback addresses, each in a folder of its own and ended by its own process id;
//! and certificates as they are met: valid, expired, self-signed.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Where `name` is; `None` where it isn't, which only machines that are not to run all tests may say.
pub fn found(name: &str) -> Option<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(|folder| Path::new(folder).join(name));
    let found = places.into_iter().find(|path| path.exists());
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "{name} is missing: tests/setup.sh installs it");
    if found.is_none() {
        eprintln!("skipped: {name} is missing");
    }
    found
}

/// A program that runs until it is dropped.
pub struct Program {
    child: Child,
    /// Its folder.
    pub folder: TempDir,
}

impl Program {
    /// Runs `command` and waits until something listens at `address`.
    pub fn start(mut command: Command, folder: TempDir, address: SocketAddr) -> Self {
        let log = fs::File::create(folder.path().join("log")).unwrap();
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut program = Self { child: command.spawn().unwrap(), folder };
        let until = Instant::now() + super::SOON;
        while TcpStream::connect(address).is_err() {
            let ended = program.child.try_wait().unwrap();
            let log = || fs::read_to_string(program.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < until, "{command:?} does not listen at {address}: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A process that ended by itself is no failure here.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Certificates for one name, made by openssl: an authority (`ca.pem`), and of each kind `KIND.pem`, `KIND.key`.
pub struct Certificates(pub TempDir);

impl Certificates {
    /// For `www.example.org`: valid, expired (in 2020), self-signed, each with its key.
    pub fn make() -> Self {
        Self::for_name("www.example.org")
    }

    /// The same for another name.
    pub fn for_name(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let openssl = |arguments: &str| {
            let output =
                Command::new("openssl").args(arguments.split(' ')).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc";
        openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 3 -subj /CN=authority"));
        fs::write(folder.path().join("name"), format!("subjectAltName=DNS:{name}\n")).unwrap();
        for kind in ["valid", "expired"] {
            openssl(&format!("req {key} -keyout {kind}.key -out {kind}.csr -subj /CN={name}"));
        }
        openssl(
            "x509 -req -in valid.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile name -out valid.pem",
        );
        // openssl 3.0's `x509` can't sign for the past; its `ca` can.
        fs::write(folder.path().join("index"), "").unwrap();
        let policy = format!(
            "[c]\ndatabase=index\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy=p\nx509_extensions=x\n\
             [p]\ncommonName=supplied\n[x]\nsubjectAltName=DNS:{name}\n"
        );
        fs::write(folder.path().join("ca.conf"), policy).unwrap();
        fs::write(folder.path().join("serial"), "77\n").unwrap();
        openssl(
            "ca -batch -config ca.conf -name c -cert ca.pem -keyfile ca.key -in expired.csr -out expired.pem -notext \
             -startdate 20200101000000Z -enddate 20200102000000Z",
        );
        openssl(&format!(
            "req -x509 {key} -keyout selfsigned.key -out selfsigned.pem -days 2 -subj /CN={name} \
             -addext subjectAltName=DNS:{name} -addext basicConstraints=critical,CA:false"
        ));
        Self(folder)
    }

    /// A file of the folder.
    pub fn path(&self, file: &str) -> String {
        self.0.path().join(file).display().to_string()
    }

    /// The SHA-256 of a kind's key, in hexadecimal digits, as openssl works it out.
    pub fn pin(&self, kind: &str) -> String {
        let script = format!(
            "openssl x509 -in {kind}.pem -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -r"
        );
        let output = Command::new("sh").args(["-c", &script]).current_dir(self.0.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
    }
}
