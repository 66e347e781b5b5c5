//! The filters of a sampler, by name and in their usual order.

/// One filter of a sampler. It does nothing where its numbers are the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The repetition, presence and frequency penalties.
    Penalties,
    /// [`Dry`](super::Dry).
    Dry,
    /// `top_n_sigma`.
    TopNSigma,
    /// `top_k`.
    TopK,
    /// `typical_p`.
    Typical,
    /// `top_p`.
    TopP,
    /// `min_p`.
    MinP,
    /// [`Xtc`](super::Xtc).
    Xtc,
    /// `temperature`.
    Temperature,
}

impl Filter {
    /// All of them, in the order of llama.cpp's default chain.
    pub const ALL: [Self; 9] = [
        Self::Penalties,
        Self::Dry,
        Self::TopNSigma,
        Self::TopK,
        Self::Typical,
        Self::TopP,
        Self::MinP,
        Self::Xtc,
        Self::Temperature,
    ];

    /// Its name in lists and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Penalties => "penalties",
            Self::Dry => "dry",
            Self::TopNSigma => "top-n-sigma",
            Self::TopK => "top-k",
            Self::Typical => "typical",
            Self::TopP => "top-p",
            Self::MinP => "min-p",
            Self::Xtc => "xtc",
            Self::Temperature => "temperature",
        }
    }

    /// The filter of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|filter| filter.name() == name)
    }
}
