//! Python's random numbers: what a seed decides there, such as the minute of a cron job, it decides here too.

use minijinja::Value;
use sha2::{Digest as _, Sha512};

const WORDS: usize = 624;
const MIDDLE: usize = 397;

/// Numbers that a seed decides (the Mersenne Twister of Python's `random.Random`), or chance where there is none.
pub(super) enum Chance {
    Seeded(Box<Twister>),
    System,
}

/// MT19937, of Matsumoto and Nishimura.
pub(super) struct Twister {
    state: [u32; WORDS],
    index: usize,
}

impl Chance {
    pub fn new(seed: Option<&Value>) -> Chance {
        match seed.filter(|seed| !seed.is_none()) {
            Some(seed) => Chance::Seeded(Box::new(Twister::by_array(&key(seed)))),
            None => Chance::System,
        }
    }

    /// Returns a number below `limit`, as `Random._randbelow` does.
    pub fn below(&mut self, limit: u64) -> u64 {
        let limit = limit.max(1);
        let bits = 64 - limit.leading_zeros();
        loop {
            let number = self.bits(bits);
            if number < limit {
                return number;
            }
        }
    }

    fn bits(&mut self, count: u32) -> u64 {
        let low = u64::from(self.word() >> (32 - count.min(32)));
        if count <= 32 { low } else { low | u64::from(self.word() >> (64 - count)) << 32 }
    }

    fn word(&mut self) -> u32 {
        match self {
            Chance::Seeded(twister) => twister.next(),
            // The system has no randomness only before it is up.
            Chance::System => getrandom::u32().unwrap_or_default(),
        }
    }
}

/// Returns what Python makes of a seed: of a whole number its value, of anything else its text and the digest of that.
fn key(seed: &Value) -> Vec<u32> {
    let bytes = match seed.as_i64().filter(|_| seed.is_integer()) {
        Some(number) => number.unsigned_abs().to_be_bytes().to_vec(),
        None => {
            let text = super::call::text(seed).into_bytes();
            [text.clone(), Sha512::digest(&text).to_vec()].concat()
        }
    };
    let word = |word: &[u8]| word.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    let mut words: Vec<u32> = bytes.rchunks(4).map(word).collect();
    while words.len() > 1 && words.last() == Some(&0) {
        words.pop();
    }
    words
}

impl Twister {
    fn by_number(seed: u32) -> Twister {
        let mut state = [seed; WORDS];
        for index in 1..WORDS {
            let last = state[index - 1];
            state[index] = 1_812_433_253_u32.wrapping_mul(last ^ last >> 30).wrapping_add(index as u32);
        }
        Twister { state, index: WORDS }
    }

    fn by_array(key: &[u32]) -> Twister {
        let mut twister = Twister::by_number(19_650_218);
        let state = &mut twister.state;
        let mut index = 1;
        let next = |state: &mut [u32; WORDS], index: &mut usize| {
            *index += 1;
            if *index >= WORDS {
                state[0] = state[WORDS - 1];
                *index = 1;
            }
        };
        let mixed = |state: &[u32; WORDS], index: usize, factor: u32| {
            state[index] ^ (state[index - 1] ^ state[index - 1] >> 30).wrapping_mul(factor)
        };
        for round in 0..WORDS.max(key.len()) {
            let place = round % key.len();
            state[index] = mixed(state, index, 1_664_525).wrapping_add(key[place]).wrapping_add(place as u32);
            next(state, &mut index);
        }
        for _ in 1..WORDS {
            state[index] = mixed(state, index, 1_566_083_941).wrapping_sub(index as u32);
            next(state, &mut index);
        }
        state[0] = 1 << 31;
        twister
    }

    fn next(&mut self) -> u32 {
        if self.index >= WORDS {
            for index in 0..WORDS {
                let both = self.state[index] & 0x8000_0000 | self.state[(index + 1) % WORDS] & 0x7fff_ffff;
                let odd = if both & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[index] = self.state[(index + MIDDLE) % WORDS] ^ both >> 1 ^ odd;
            }
            self.index = 0;
        }
        let mut word = self.state[self.index];
        self.index += 1;
        word ^= word >> 11;
        word ^= word << 7 & 0x9d2c_5680;
        word ^= word << 15 & 0xefc6_0000;
        word ^ word >> 18
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_what_it_decides_in_python() {
        // random.Random(SEED).randrange(LIMIT), three times each.
        let rows: [(Value, u64, [u64; 3]); 5] = [
            (Value::from("mx1.example.com"), 60, [39, 11, 47]),
            (Value::from(""), 1000, [983, 465, 609]),
            (Value::from(42), 100, [81, 14, 3]),
            (Value::from(0), 7, [6, 3, 6]),
            (Value::from("größe"), 1_000_000_000_000, [100_728_257_712, 715_230_706_043, 56_247_666_496]),
        ];
        for (seed, limit, expected) in rows {
            let mut chance = Chance::new(Some(&seed));
            assert_eq!([0; 3].map(|_| chance.below(limit)), expected, "{seed}");
        }
    }
}
