//! The connection throttle: a token bucket for ConnectRequests (semantics.md 8.3; ZooKeeper:
//! `BlueThrottle`), so that a crowd that comes at once comes in order. Off without tokens.

use crate::types::Millis;

/// `connection_throttle_*`.
#[derive(Clone, Copy, Debug)]
pub struct ThrottleRules {
    /// Size of the bucket; 0 is no throttle.
    pub tokens: u32,
    /// Time between two fills.
    pub fill_ms: Millis,
    /// Tokens of one fill.
    pub fill_count: u32,
    /// Time between two changes of the drop probability; -1 drops none at random.
    pub freeze_ms: Millis,
    /// Rise of the probability when the bucket is empty.
    pub drop_increase: f64,
    /// Its fall when the bucket is full enough.
    pub drop_decrease: f64,
    /// Used share of the bucket at or below which it falls.
    pub decrease_ratio: f64,
    /// Tokens of a new session and of one that comes back.
    pub new_weight: u32,
    /// See above.
    pub renew_weight: u32,
}

impl ThrottleRules {
    /// Everybody comes in.
    pub const OFF: Self = Self {
        tokens: 0,
        fill_ms: 1,
        fill_count: 1,
        freeze_ms: -1,
        drop_increase: 0.02,
        drop_decrease: 0.002,
        decrease_ratio: 0.0,
        new_weight: 1,
        renew_weight: 1,
    };
}

/// The bucket.
#[derive(Debug)]
pub struct ConnectionThrottle {
    rules: ThrottleRules,
    tokens: u64,
    filled_ms: Millis,
    drop_chance: f64,
    changed_ms: Millis,
    /// State of the die, which needs to be fair, not secret.
    die: u64,
}

impl ConnectionThrottle {
    /// A full bucket.
    pub fn new(rules: ThrottleRules, seed: u64) -> Self {
        Self {
            rules,
            tokens: u64::from(rules.tokens),
            filled_ms: 0,
            drop_chance: 0.0,
            changed_ms: 0,
            die: seed | 1,
        }
    }

    /// Whether a connection may go on; one that may not is closed without a byte.
    pub fn admit(&mut self, comes_back: bool, now_ms: Millis) -> bool {
        let rules = self.rules;
        if rules.tokens == 0 {
            return true;
        }
        let passed_ms = now_ms - self.filled_ms;
        if passed_ms >= rules.fill_ms {
            let fills = (passed_ms / rules.fill_ms.max(1)).cast_unsigned();
            let refill = fills.saturating_mul(u64::from(rules.fill_count));
            self.tokens = self.tokens.saturating_add(refill).min(u64::from(rules.tokens));
            self.filled_ms = now_ms;
        }
        if rules.freeze_ms >= 0 && self.is_dropped(now_ms) {
            return false;
        }
        let weight = u64::from(if comes_back { rules.renew_weight } else { rules.new_weight });
        let Some(left) = self.tokens.checked_sub(weight) else { return false };
        self.tokens = left;
        true
    }

    /// BLUE: an empty bucket raises the chance to be dropped, a filled one lowers it.
    fn is_dropped(&mut self, now_ms: Millis) -> bool {
        let rules = self.rules;
        if now_ms - self.changed_ms > rules.freeze_ms {
            let used = u64::from(rules.tokens) - self.tokens;
            let used_share =
                f64::from(u32::try_from(used).unwrap_or(u32::MAX)) / f64::from(rules.tokens);
            if self.tokens == 0 {
                self.drop_chance = (self.drop_chance + rules.drop_increase).min(1.0);
            } else if used_share <= rules.decrease_ratio {
                self.drop_chance = (self.drop_chance - rules.drop_decrease).max(0.0);
            }
            self.changed_ms = now_ms;
        }
        self.roll() < self.drop_chance
    }

    /// Uniform in 0..1 (xorshift64).
    fn roll(&mut self) -> f64 {
        self.die ^= self.die << 13;
        self.die ^= self.die >> 7;
        self.die ^= self.die << 17;
        let top = u32::try_from(self.die >> 32).expect("32 bits");
        f64::from(top) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: ThrottleRules = ThrottleRules {
        tokens: 6,
        fill_ms: 10,
        fill_count: 2,
        freeze_ms: -1,
        drop_increase: 0.5,
        drop_decrease: 0.25,
        decrease_ratio: 0.0,
        new_weight: 3,
        renew_weight: 2,
    };

    #[test]
    fn without_tokens_everybody_comes_in() {
        let mut throttle = ConnectionThrottle::new(ThrottleRules { tokens: 0, ..RULES }, 1);
        assert!((0..1000).all(|_| throttle.admit(false, 0)));
    }

    #[test]
    fn an_empty_bucket_refuses_until_it_is_filled() {
        let mut throttle = ConnectionThrottle::new(RULES, 1);
        let taken: Vec<bool> = (0..3).map(|_| throttle.admit(false, 0)).collect();
        assert_eq!(taken, [true, true, false]);
        assert!(!throttle.admit(true, 9));
        assert!(throttle.admit(true, 10), "one fill is enough for one that comes back");
        assert!(!throttle.admit(true, 10));
        assert!(throttle.admit(false, 1_000_000), "it never overflows");
    }

    #[test]
    fn an_empty_bucket_raises_the_chance_to_be_dropped() {
        let rules = ThrottleRules { fill_ms: 1_000_000, freeze_ms: 0, ..RULES };
        let mut throttle = ConnectionThrottle::new(rules, 7);
        while throttle.admit(false, 1) {}
        for now_ms in 2..10 {
            throttle.admit(false, now_ms);
        }
        assert!(throttle.is_dropped(20), "the chance has risen to certainty");
    }
}
