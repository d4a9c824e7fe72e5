//! The fuzz targets, in bounds: each takes its whole corpus, and mutations of it that are the same in each run.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// Mutations of each seed.
const MUTATIONS: usize = 2000;

/// Pseudo-random numbers.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

/// The octets with up to eight changes: one put in, taken out, or made another; a piece doubled; the end cut off.
fn mutated(seed: &[u8], draws: &mut Draws) -> Vec<u8> {
    let mut octets = seed.to_vec();
    for _ in 0..=draws.below(8) {
        let at = draws.below(octets.len());
        match draws.below(6) {
            0 => octets.insert(at, draws.below(256) as u8),
            1 if !octets.is_empty() => _ = octets.remove(at),
            2 if !octets.is_empty() => octets[at] = draws.below(256) as u8,
            3 if !octets.is_empty() => octets[at] ^= 1 << draws.below(8),
            4 => {
                let piece = octets[at..at + draws.below(octets.len() - at)].to_vec();
                octets.extend(piece);
            }
            _ => octets.truncate(at + 1),
        }
    }
    octets
}

#[test]
fn the_corpus_and_its_mutations_panic_nothing() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let mut files: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 3, "{name}: {} seeds", files.len());
        let mut draws = Draws(4);
        let mut taken = 0;
        for file in files {
            let seed = fs::read(&file).unwrap();
            taken += usize::from(target(&seed));
            for number in 0..MUTATIONS {
                let octets = mutated(&seed, &mut draws);
                let run = std::panic::catch_unwind(|| target(&octets));
                assert!(run.is_ok(), "{}: mutation {number}: {octets:02x?}", file.display());
            }
        }
        assert!(taken >= 1, "{name}: no seed reaches far");
    }
}
