//! Exact numbers: sums of rational multiples of `p^a q^b .. pi^k i^m`, with primes p, q, .. and
//! exponents a, b, .. between 0 and 1. This is a normal form (roots of different such products are
//! linearly independent, Besicovitch 1940), so two numbers are equal when their terms are.
//!
//! All arithmetic is bounded: what grows beyond the limits here is refused.

use std::collections::BTreeMap;

use num_bigint::BigInt;
use num_rational::{BigRational, Ratio};

/// What a rational number is a multiple of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Factor {
    /// Exponents of primes, each above 0 and below 1.
    roots: BTreeMap<u64, Ratio<u32>>,
    /// The exponent of pi.
    pi: i32,
    /// Whether it has the imaginary unit.
    is_imaginary: bool,
}

/// A sum of rational multiples of factors; no multiple is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Number(BTreeMap<Factor, BigRational>);

/// Bits of the largest number: what is larger is refused.
pub(super) const MAX_BITS: u64 = 1024;

/// Largest exponent of a sum, and the largest index of a root. Powers of one term end by their
/// bits.
const MAX_EXPONENT: u32 = 64;

/// Pairs of terms that one multiplication has at most.
const MAX_PAIRS: usize = 256;

/// The largest number whose prime factors are looked for by division.
const MAX_RADICAND: u64 = 1 << 24;

impl Factor {
    /// The product: a rational number, and the factor that is left. None where it is too large.
    fn times(&self, other: &Self) -> Option<(BigRational, Self)> {
        let mut product = Self { pi: self.pi.checked_add(other.pi)?, ..self.clone() };
        let mut rational = one();
        for (&prime, exponent) in &other.roots {
            let sum = product.roots.remove(&prime).unwrap_or_default() + exponent;
            let whole = sum.to_integer();
            rational *= BigRational::from_integer(BigInt::from(prime).pow(whole));
            let rest = sum - whole;
            if rest > Ratio::default() {
                product.roots.insert(prime, rest);
            }
        }
        if self.is_imaginary && other.is_imaginary {
            rational = -rational;
        }
        product.is_imaginary = self.is_imaginary != other.is_imaginary;
        product.roots.values().all(|exponent| *exponent.denom() <= MAX_EXPONENT).then_some((rational, product))
    }

    /// `1 / self`: a rational number, and the factor that is left.
    fn inverse(&self) -> Option<(BigRational, Self)> {
        let mut rational = if self.is_imaginary { -one() } else { one() };
        let mut inverse = Self { pi: self.pi.checked_neg()?, ..self.clone() };
        for (&prime, exponent) in &mut inverse.roots {
            // p^-a = p^(1 - a) / p
            rational /= BigRational::from_integer(prime.into());
            *exponent = Ratio::from_integer(1) - *exponent;
        }
        Some((rational, inverse))
    }
}

impl Number {
    fn term(value: BigRational, factor: Factor) -> Self {
        let mut terms = BTreeMap::new();
        if value != zero() {
            terms.insert(factor, value);
        }
        Self(terms)
    }

    pub(super) fn rational(value: BigRational) -> Self {
        Self::term(value, Factor::default())
    }

    pub(super) fn pi() -> Self {
        Self::term(one(), Factor { pi: 1, ..Factor::default() })
    }

    /// The imaginary unit.
    pub(super) fn i() -> Self {
        Self::term(one(), Factor { is_imaginary: true, ..Factor::default() })
    }

    /// The number, if it is rational.
    pub fn as_rational(&self) -> Option<BigRational> {
        match self.0.len() {
            0 => Some(zero()),
            1 => self.0.get(&Factor::default()).cloned(),
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
        for (first, a) in &self.0 {
            for (second, b) in &other.0 {
                let (rational, factor) = first.times(second)?;
                product = product.add(&Self::term(a * b * rational, factor));
            }
        }
        product.is_small().then_some(product)
    }

    /// `1 / self`: of one term, or of two whose product with their conjugate, `(a + b) (a - b)`, is
    /// rational.
    pub(super) fn inverse(&self) -> Option<Self> {
        let mut terms = self.0.iter();
        match (terms.next(), terms.next(), terms.next()) {
            (Some((factor, value)), None, None) => {
                let (rational, factor) = factor.inverse()?;
                Some(Self::term(rational / value, factor))
            }
            (Some(_), Some(_), None) => {
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
        if !exponent.is_integer() {
            // x^(p/q) is the q-th root of x, p times.
            let root = self.root(u32::try_from(exponent.denom()).ok()?)?;
            return root.power(&BigRational::from_integer(exponent.numer().clone()));
        }
        let exponent = i32::try_from(exponent.to_integer()).ok()?;
        let most = if self.0.len() > 1 { MAX_EXPONENT } else { MAX_BITS as u32 };
        if exponent.unsigned_abs() > most {
            return None;
        }
        let mut base = if exponent < 0 { self.inverse()? } else { self.clone() };
        let (mut power, mut rest) = (Self::rational(one()), exponent.unsigned_abs());
        while rest > 0 {
            if rest % 2 == 1 {
                power = power.times(&base)?;
            }
            rest /= 2;
            if rest > 0 {
                base = base.times(&base)?;
            }
        }
        Some(power)
    }

    /// The root of a rational number or of a rational multiple of roots: a real one, as `\sqrt`
    /// means it.
    pub(super) fn root(&self, index: u32) -> Option<Self> {
        if !(1..=MAX_EXPONENT).contains(&index) || self.0.len() > 1 {
            return None;
        }
        let Some((factor, value)) = self.0.iter().next() else { return Some(Self::default()) };
        let is_negative = *value < zero();
        if factor.pi != 0 || factor.is_imaginary || (is_negative && index.is_multiple_of(2)) {
            return None;
        }
        let mut root = Self::rational(if is_negative { -one() } else { one() });
        // The root of p / q is that of p q^(n - 1), over q.
        let under = value.denom();
        let whole = value.numer().magnitude() * under.magnitude().pow(index - 1);
        root = root.times(&root_of_whole(&whole.into(), index)?)?;
        root = root.times(&Self::rational(BigRational::new(1.into(), under.clone())))?;
        for (&prime, exponent) in &factor.roots {
            root = root.times(&root_of_prime(prime, exponent / Ratio::from_integer(index)))?;
        }
        Some(root)
    }

    pub(super) fn is_small(&self) -> bool {
        self.0.len() <= 64 && self.0.values().all(|value| value.numer().bits().max(value.denom().bits()) <= MAX_BITS)
    }
}

fn root_of_prime(prime: u64, exponent: Ratio<u32>) -> Number {
    Number::term(one(), Factor { roots: BTreeMap::from([(prime, exponent)]), ..Factor::default() })
}

/// The root of a number that is above 0. None where it is too large to tell its prime factors.
fn root_of_whole(n: &BigInt, index: u32) -> Option<Number> {
    let exact = n.nth_root(index);
    if exact.pow(index) == *n {
        return Some(Number::rational(BigRational::from_integer(exact)));
    }
    let mut rest = u64::try_from(n).ok().filter(|n| *n <= MAX_RADICAND)?;
    let (mut root, mut prime) = (Number::rational(one()), 2_u64);
    while rest > 1 {
        if prime * prime > rest {
            prime = rest;
        }
        let mut count = 0;
        while rest.is_multiple_of(prime) {
            (rest, count) = (rest / prime, count + 1);
        }
        if count > 0 {
            let whole = BigRational::from_integer(BigInt::from(prime).pow(count / index));
            root = root.times(&Number::rational(whole))?;
        }
        if !count.is_multiple_of(index) {
            root = root.times(&root_of_prime(prime, Ratio::new(count % index, index)))?;
        }
        prime += 1;
    }
    Some(root)
}

pub(super) fn zero() -> BigRational {
    BigRational::from_integer(0.into())
}

pub(super) fn one() -> BigRational {
    BigRational::from_integer(1.into())
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
        assert_eq!(whole(16).root(3), whole(2).root(3).unwrap().times(&whole(2)));
        assert_eq!(whole(4).root(4), Some(root(2)));
        assert_eq!(root(2).root(3), whole(2).root(6));
        let sixth = whole(2).root(6).unwrap();
        assert_eq!(sixth.times(&sixth.inverse().unwrap()), Some(whole(1)));
        assert_eq!(Number::i().times(&Number::i()), Some(whole(-1)));
        let complex = whole(3).add(&Number::i().times(&whole(4)).unwrap());
        assert_eq!(complex.times(&complex.inverse().unwrap()), Some(whole(1)));
        assert_eq!(
            (root(2).as_rational(), whole(-3).as_rational()),
            (None, Some(BigRational::from_integer((-3).into())))
        );
    }

    #[test]
    fn what_is_no_such_number_or_too_large_is_refused() {
        let power = |base: i64, exponent: i64| whole(base).power(&BigRational::from_integer(exponent.into()));
        assert!(whole(0).inverse().is_none() && whole(-1).root(2).is_none() && Number::i().root(3).is_none());
        assert!(whole(1).root(0).is_none() && power(0, -1).is_none());
        assert!(power(2, 1025).is_none() && power(2, i64::from(i32::MIN)).is_none() && power(1 << 40, 64).is_none());
        assert!(whole(2).root(65).is_none() && Number::pi().root(2).is_none());
        assert_eq!(power(2, -2), Some(Number::rational(BigRational::new(1.into(), 4.into()))));
        // A root whose square factors are not looked for.
        assert!(whole((1 << 24) + 1).root(2).is_none());
        assert_eq!(whole(1 << 40).root(2), Some(whole(1 << 20)));
    }
}
