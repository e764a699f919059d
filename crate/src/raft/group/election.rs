//! How long a replica waits for a leader before it stands for election.
//!
//! Raft draws this from a global generator. Here it is a pure function of (seed, group, replica, term): runs can be
//! repeated, and every term still has a fresh draw, which is what ends split votes.

pub struct ElectionTimeout {
    pub seed: u64,
    /// [min, max), in ticks.
    pub min: u64,
    pub max: u64,
}

impl ElectionTimeout {
    pub fn ticks(&self, group: u64, replica: u64, term: u64) -> usize {
        let mut x = self.seed;
        for value in [group, replica, term] {
            // One round of splitmix64 (Steele, Lea, Flood 2014).
            x = (x ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^= x >> 31;
        }
        (self.min + x % (self.max - self.min)) as usize
    }
}
