//! When nobody probes:
//! - health stays as it was, also what was known before a restart; status, its warnings and `/readyz`'s judgement say so;
//! - a reload begins anew, and that is told, too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use waypost::control::catalog::Catalog;
use waypost::control::message::{Origin, ReloadWish, Status};
use waypost::control::{self, Handle, Start};
use waypost::query::Readers;
use waypost::store::Embedded;
use waypost::time::Timestamp;

/// How long a busy machine may take for what should come at once.
const SOON: Duration = Duration::from_secs(20);

/// A pool whose endpoints nobody answers at: its probes fail.
fn config(folder: &Path) -> String {
    fs::write(folder.join("zone"), "@ 60 SOA ns hostmaster 1 1h 15m 4w 5m\n@ 60 NS ns\nns 60 A 127.0.0.1\n").unwrap();
    let closed = 1; // tcpmux, which nobody has
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[zone]]\nname = \"example.org\"\nfile = \"{}\"\n[[site]]\nname = \"ec2\"\n\
         [[site]]\nname = \"dc1\"\n[probe.web]\ntype = \"tcp\"\nport = {closed}\ninterval = \"1s\"\ntimeout = \"1s\"\n\
         [[pool]]\nname = \"www.example.org\"\nprobe = \"web\"\nendpoint = [\
         {{ site = \"ec2\", address = [\"127.0.0.31\"], weight = 1 }}, {{ site = \"dc1\", address = [\"127.0.0.32\"], weight = 1 }}]\n",
        folder.join("zone").display()
    )
}

/// A writer at work in `folder`, whose probes begin only if it is told so.
async fn start(folder: &Path, probes: bool) -> (Handle, tokio::task::JoinHandle<()>, CancellationToken) {
    let config_file = folder.join("waypost.toml");
    let now = Timestamp::now();
    let catalog = Catalog::read(&config_file, None, &BTreeMap::new(), false, now).unwrap();
    let store = Arc::new(Embedded::open(&folder.join("state")).unwrap());
    let (readers, secondaries) = (Readers::new(1), Arc::default());
    let start = Start {
        config_file,
        catalog,
        store,
        readers,
        udp_workers: 1,
        secondaries,
        listen: Vec::new(),
        force: false,
        now,
    };
    let (mut writer, handle, _) = control::start(start).await.unwrap();
    if probes {
        writer.first_round().await;
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(writer.run(stop.clone()));
    (handle, running, stop)
}

async fn wait_for(handle: &Handle, what: &str, is: impl Fn(&Status) -> bool) -> Status {
    let until = Instant::now() + SOON;
    loop {
        let status = handle.status().await.unwrap();
        if is(&status) {
            return status;
        }
        assert!(Instant::now() < until, "waited in vain for {what}: {status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn states(status: &Status) -> Vec<&str> {
    status.pools[0].endpoints.iter().map(|endpoint| endpoint.health.state.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_stays_as_it_was_and_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("waypost.toml"), config(folder.path())).unwrap();
    let (handle, running, stop) = start(folder.path(), true).await;
    let status = wait_for(&handle, "both to be down", |status| states(status) == ["down", "down"]).await;
    assert_eq!((status.prober_dead_since, status.pools[0].mode.as_str()), (None, "fail-open"));
    stop.cancel();
    running.await.unwrap();
    drop(handle);

    let (handle, running, stop) = start(folder.path(), false).await;
    let status = wait_for(&handle, "the prober's death", |status| status.prober_dead_since.is_some()).await;
    assert_eq!(states(&status), ["down", "down"], "as it was before the restart");
    assert_eq!(status.pools[0].mode, "fail-open");
    assert!(status.warnings.iter().any(|warning| warning.contains("nobody probes since")), "{:?}", status.warnings);
    // An endpoint that comes up is not seen; an operator's word counts all the same.
    let later = wait_for(&handle, "time to pass", |later| later.now > status.now.after(1)).await;
    assert_eq!((states(&later), later.prober_dead_since), (vec!["down", "down"], status.prober_dead_since));

    let origin = Origin { author: "test".to_owned(), ..Origin::default() };
    handle.reload(origin, ReloadWish::default()).await.unwrap();
    let anew = wait_for(&handle, "probes to go on", |status| status.prober_dead_since.is_none()).await;
    assert!(!anew.warnings.iter().any(|warning| warning.contains("nobody probes")), "{:?}", anew.warnings);
    stop.cancel();
    running.await.unwrap();
}
