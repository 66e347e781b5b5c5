//! Exact numbers: sums of rational multiples of `sqrt(n) pi^k`, with n without square factors. This
//! is a normal form, so two numbers are equal when their terms are.
//!
//! All arithmetic is bounded: what grows beyond the limits here is refused.

use std::collections::BTreeMap;

use num_bigint::BigInt;
use num_rational::BigRational;

/// A sum of rational multiples of `sqrt(n) pi^k`, by n and k; no multiple is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Number(BTreeMap<(BigInt, i32), BigRational>);

/// Largest exponent, and bits of the largest number: what is larger is refused.
const MAX_EXPONENT: u32 = 64;
pub(super) const MAX_BITS: u64 = 1024;

/// Pairs of terms that one multiplication has at most.
const MAX_PAIRS: usize = 256;

/// The largest number whose square factors are looked for by division.
const MAX_RADICAND: u64 = 1 << 24;

impl Number {
    fn term(value: BigRational, radicand: BigInt, pi: i32) -> Self {
        let mut terms = BTreeMap::new();
        if value != zero() {
            terms.insert((radicand, pi), value);
        }
        Self(terms)
    }

    pub(super) fn rational(value: BigRational) -> Self {
        Self::term(value, BigInt::from(1), 0)
    }

    pub(super) fn pi() -> Self {
        Self::term(one(), BigInt::from(1), 1)
    }

    /// The number, if it is rational.
    pub fn as_rational(&self) -> Option<BigRational> {
        match self.0.len() {
            0 => Some(zero()),
            1 => self.0.get(&(BigInt::from(1), 0)).cloned(),
            _ => None,
        }
    }

    pub(super) fn add(mut self, other: &Self) -> Self {
        for (key, value) in &other.0 {
            let sum = self.0.remove(key).map_or_else(|| value.clone(), |own| own + value);
            if sum != zero() {
                self.0.insert(key.clone(), sum);
            }
        }
        self
    }

    pub(super) fn negated(&self) -> Self {
        Self(self.0.iter().map(|(key, value)| (key.clone(), -value)).collect())
    }

    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        if self.0.len() * other.0.len() > MAX_PAIRS {
            return None;
        }
        let mut product = Self::default();
        for ((n, k), a) in &self.0 {
            for ((m, l), b) in &other.0 {
                let (square, radicand) = without_squares(n * m)?;
                let value = a * b * BigRational::from_integer(square);
                product = product.add(&Self::term(value, radicand, k.checked_add(*l)?));
            }
        }
        product.is_small().then_some(product)
    }

    /// `1 / self`: of one term, or of two of which one is rational and neither has pi.
    pub(super) fn inverse(&self) -> Option<Self> {
        let mut terms = self.0.iter();
        match (terms.next(), terms.next(), terms.next()) {
            (Some(((n, k), value)), None, None) => {
                // 1 / (a sqrt(n) pi^k) = sqrt(n) / (a n) pi^-k
                let value = one() / (value * BigRational::from_integer(n.clone()));
                Some(Self::term(value, n.clone(), k.checked_neg()?))
            }
            (Some(_), Some(_), None) => {
                // (a + b) (a - b) is rational.
                let mut conjugate = self.clone();
                let last = conjugate.0.values_mut().next_back()?;
                *last = -last.clone();
                let product = self.times(&conjugate)?.as_rational().filter(|product| *product != zero())?;
                conjugate.times(&Self::rational(one() / product))
            }
            _ => None,
        }
    }

    pub(super) fn power(&self, exponent: &BigRational) -> Option<Self> {
        let half = BigRational::new(1.into(), 2.into());
        if exponent.denom() == &BigInt::from(2) {
            return self.power(&(exponent - &half))?.times(&self.root(2)?);
        }
        let exponent = i32::try_from(exponent.is_integer().then(|| exponent.to_integer())?).ok()?;
        if exponent.unsigned_abs() > MAX_EXPONENT {
            return None;
        }
        let base = if exponent < 0 { self.inverse()? } else { self.clone() };
        (0..exponent.abs()).try_fold(Self::rational(one()), |power, _| power.times(&base))
    }

    /// The square root of a rational number that is not negative; another root where it is exact.
    pub(super) fn root(&self, index: u32) -> Option<Self> {
        let value = self.as_rational()?;
        if index != 2 {
            let exact = |n: &BigInt| {
                let root = n.nth_root(index);
                (root.pow(index) == *n).then_some(root)
            };
            if index == 0 || (value < zero() && index.is_multiple_of(2)) {
                return None;
            }
            return Some(Self::rational(BigRational::new(exact(value.numer())?, exact(value.denom())?)));
        }
        if value < zero() {
            return None;
        }
        // sqrt(p / q) = sqrt(p q) / q
        let (square, radicand) = without_squares(value.numer() * value.denom())?;
        Some(Self::term(BigRational::new(square, value.denom().clone()), radicand, 0))
    }

    pub(super) fn is_small(&self) -> bool {
        self.0.len() <= 64 && self.0.values().all(|value| value.numer().bits().max(value.denom().bits()) <= MAX_BITS)
    }
}

pub(super) fn zero() -> BigRational {
    BigRational::from_integer(0.into())
}

pub(super) fn one() -> BigRational {
    BigRational::from_integer(1.into())
}

/// `n = s^2 r` with r without square factors: s and r; 0 is 0^2 · 1. None where n is too large to
/// tell.
fn without_squares(n: BigInt) -> Option<(BigInt, BigInt)> {
    if n == BigInt::from(0) {
        return Some((0.into(), 1.into()));
    }
    let root = n.sqrt();
    if &root * &root == n {
        return Some((root, 1.into()));
    }
    let mut rest = u64::try_from(n).ok().filter(|n| *n <= MAX_RADICAND)?;
    let (mut square, mut radicand, mut factor) = (1_u64, 1_u64, 2_u64);
    while factor * factor <= rest {
        while rest.is_multiple_of(factor * factor) {
            rest /= factor * factor;
            square *= factor;
        }
        if rest.is_multiple_of(factor) {
            rest /= factor;
            radicand *= factor;
        }
        factor += 1;
    }
    Some((square.into(), (radicand * rest).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(n: i64) -> Number {
        Number::rational(BigRational::from_integer(n.into()))
    }

    #[test]
    fn numbers_are_added_multiplied_and_inverted_exactly() {
        let root = |n| whole(n).root(2).unwrap();
        assert_eq!(root(12), root(3).times(&whole(2)).unwrap());
        assert_eq!(root(2).times(&root(2)), Some(whole(2)));
        assert_eq!(root(2).add(&root(2).negated()), whole(0));
        let sum = whole(1).add(&root(2));
        assert_eq!(sum.times(&sum.inverse().unwrap()), Some(whole(1)));
        assert_eq!(Number::pi().inverse().unwrap().times(&Number::pi()), Some(whole(1)));
        assert_eq!(whole(8).root(3), Some(whole(2)));
        assert_eq!(
            (root(2).as_rational(), whole(-3).as_rational()),
            (None, Some(BigRational::from_integer((-3).into())))
        );
    }

    #[test]
    fn what_is_no_such_number_or_too_large_is_refused() {
        let power = |base: i64, exponent: i64| whole(base).power(&BigRational::from_integer(exponent.into()));
        assert!(whole(0).inverse().is_none() && whole(-1).root(2).is_none() && whole(9).root(3).is_none());
        assert!(whole(1).root(0).is_none() && power(0, -1).is_none());
        assert!(power(2, 65).is_none() && power(2, i64::from(i32::MIN)).is_none() && power(1 << 40, 64).is_none());
        assert_eq!(power(2, -2), Some(Number::rational(BigRational::new(1.into(), 4.into()))));
        // A root whose square factors are not looked for.
        assert!(whole((1 << 24) + 1).root(2).is_none());
        assert_eq!(whole(1 << 40).root(2), Some(whole(1 << 20)));
    }
}
