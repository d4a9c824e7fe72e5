//! Countdown: resolvers that ask again the second that their answer has expired.

use waypost::dns::Ttl;
use waypost::steering::key::Salt;
use waypost::steering::key::point;
use waypost::steering::ttl::{Approach, Cutover, TtlPolicy, served_ttl};
use waypost::time::Timestamp;

use crate::Draws;
use crate::keys::key;

const RESOLVERS: u32 = 20_000;
const NORMAL: u64 = 3600;
const LOW: u64 = 60;
const HOURS_SECS: u64 = 4 * 3600;
const T: Timestamp = Timestamp(1_800_000_000);

/// What all resolvers ask in the four hours before T, where an answer at an instant lives as `ttl` says.
struct Load {
    /// Part of the resolvers that ask in the fullest second.
    peak: f64,
    mean: f64,
    most: u64,
}

fn load(ttl: impl Fn(u64, Timestamp) -> u64) -> Load {
    let salt = Salt::of("www.example.org");
    let mut each_second = vec![0u32; HOURS_SECS as usize];
    let (mut all, mut most) = (0, 0);
    let mut draws = Draws::new(1);
    for number in 0..RESOLVERS {
        let point = point(&salt, &key(number));
        let mut now = T.before(HOURS_SECS).after(draws.below(NORMAL));
        let mut queries = 0;
        while now < T {
            queries += 1;
            each_second[(HOURS_SECS - T.since(now)) as usize] += 1;
            now = now.after(ttl(point, now));
        }
        all += queries;
        most = most.max(queries);
    }
    let peak = f64::from(*each_second.iter().max().unwrap()) / f64::from(RESOLVERS);
    Load { peak, mean: all as f64 / f64::from(RESOLVERS), most }
}

#[test]
fn countdown() {
    let policy = TtlPolicy {
        normal: Ttl::from_secs(NORMAL),
        low: Ttl::from_secs(LOW),
        spread_secs: 120,
        mode: Approach::Countdown,
        max_wait: None,
        by_health: false,
    };
    let cutover = Cutover { at: T };
    let Load { peak, mean, most } =
        load(|point, now| served_ttl(&policy, Some(&cutover), None, point, now).secs().into());
    println!(
        "Countdown: {RESOLVERS} busy resolvers, normal {NORMAL} s, low {LOW} s: {:.2} % of them in the fullest second, \
         {mean:.2} queries each in the 4 hours before T, {most} at most",
        peak * 100.0
    );
    assert!(peak <= 0.035 && mean <= 6.0 && most <= 8);

    let by_hand = load(|_, now| if T.since(now) > 7200 { NORMAL } else { LOW });
    println!("Countdown: lowered by hand to {LOW} s two hours ahead: {:.0} queries each", by_hand.mean);
    assert!(by_hand.mean > 90.0);
}
