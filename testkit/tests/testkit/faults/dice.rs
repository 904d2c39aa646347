//! Chance that can be had again: everything that a run decides follows from its seed.

/// A generator (`SplitMix64`: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// One of its own for each who decides, so that nobody's decisions depend on how quick the others were.
    pub fn of(seed: u64, whose: u64) -> Self {
        let mut dice = Self(seed);
        let stream = dice.next();
        Self(stream ^ whose.wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// At least 0, less than `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// An index into so many.
    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("less than a usize")
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[test]
fn a_seed_gives_the_same_again_and_everybody_something_else() {
    let first = |seed, whose| {
        let mut dice = Dice::of(seed, whose);
        [(); 8].map(|()| dice.below(1000))
    };
    assert_eq!(first(7, 1), first(7, 1));
    assert_ne!(first(7, 1), first(7, 2));
    assert_ne!(first(7, 1), first(8, 1));
}
