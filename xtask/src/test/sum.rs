//! What test programs reported, added up.

use std::iter;
use std::ops::AddAssign;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl Sum {
    /// Takes up lines such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; ...`.
    pub(super) fn of(output: &str) -> Self {
        let mut sum = Self::default();
        for result in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            let count = |word: &str| {
                let before = result.split([';', '.']).find_map(|part| part.trim().strip_suffix(word));
                before.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or_default()
            };
            sum.passed += count("passed");
            sum.failed += count("failed");
            sum.skipped += count("ignored");
        }
        sum
    }
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl iter::Sum for Sum {
    fn sum<I: Iterator<Item = Self>>(sums: I) -> Self {
        sums.fold(Self::default(), |mut all, sum| {
            all += sum;
            all
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_add_up() {
        let output = "running 3 tests
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.20s
";
        assert_eq!(Sum::of(output), Sum { passed: 13, failed: 2, skipped: 1 });
    }
}
