//! Instants, and waiting for a condition with a deadline: nothing in the play sleeps for a fixed time where it can look.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use waypost::time::Timestamp;

/// Milliseconds since 1970, by the clock that the servers use as well.
pub type Ms = u64;

/// Now.
pub fn now_ms() -> Ms {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as Ms
}

/// What a server told, in whole seconds.
pub fn ms(at: Timestamp) -> Ms {
    at.0 * 1000
}

/// Looks until `found` gives something. Panics when that takes longer than `within`.
pub fn wait_for<T>(what: &str, within: Duration, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = now_ms() + within.as_millis() as Ms;
    loop {
        if let Some(it) = found() {
            return it;
        }
        assert!(now_ms() < deadline, "not within {within:?}: {what}");
        sleep(Duration::from_millis(40));
    }
}

/// Waits until the clock shows `at`.
pub fn wait_until(at: Ms) {
    while let Some(left) = at.checked_sub(now_ms()).filter(|&left| left > 0) {
        sleep(Duration::from_millis(left));
    }
}
