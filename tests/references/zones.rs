//! The zones that are asked about.

/// A zone to serve: its apex and its master file.
pub type Zone = (&'static str, &'static str);

pub const ZONES: [Zone; 5] = [
    ("example.org", include_str!("example.org.zone")),
    ("kid.example.org", include_str!("kid.example.org.zone")),
    ("example.net", include_str!("example.net.zone")),
    ("signed.example", include_str!("signed.example.zone")),
    ("hashed.example", include_str!("hashed.example.zone")),
];
