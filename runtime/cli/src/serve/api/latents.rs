//! The fields under `ollm`: which option, what is shown of the others, and searches over them.

use ollm_runtime::branches::{
    AnswerRule, BranchError, BranchOptions, Expansion, Score, SearchOptions, Strategy, Weight,
};
use ollm_runtime::plugin::{Hold, HoldUntil, LatentMode, Plugin, SelectError, Selector, TokenEnds};

use crate::search::BranchDefaults;
use crate::serve::error::ApiError;
use crate::serve::service::Service;

use super::fields::Fields;
use super::sampling::Sampling;

type Result<T> = std::result::Result<T, ApiError>;

/// The fields under `ollm`.
const KNOWN: [&str; 10] =
    ["latent", "mode", "hold", "show_options", "strategy", "branches", "expand", "score", "weight", "answer"];

/// Tokens that are shown of each option at most.
pub(crate) const MAX_SHOWN: u64 = 100;

/// Tokens of options that a whole answer shows at most: it has them in memory. A stream has not.
const MAX_SHOWN_IN_ALL: usize = 1 << 20;

/// Branches of a search at most.
const MAX_BRANCHES: u64 = 256;

/// What a request asks of options.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latents {
    /// Whether there is an object `ollm`: then each token is told with its latent.
    pub(crate) told: bool,
    mode: Option<LatentMode>,
    hold: Option<Hold>,
    /// Whether the backbone is to answer alone.
    backbone: bool,
    /// Tokens of each option that are to be seen.
    pub(crate) show: Option<usize>,
    /// A search, in place of plain generation.
    pub(crate) strategy: Option<Strategy>,
    branches: Option<usize>,
    expand: Option<Expansion>,
    score: Score,
    weight: Weight,
    answer: AnswerRule,
}

impl Latents {
    pub(crate) fn read(fields: &Fields<'_>, service: &Service) -> Result<Self> {
        let Some(own) = Self::fields(fields)? else { return Ok(Self::default()) };
        let read = Self::of(&own, service)?;
        read.check_effects(&own)?;
        Ok(read)
    }

    /// Those of a search. They may stand at the top level of the request, where its prompt is.
    pub(crate) fn of_search(fields: &Fields<'_>, service: &Service) -> Result<Self> {
        let under = Self::fields(fields)?;
        let own = under.as_ref().unwrap_or(fields);
        let mut read = Self::of(own, service)?;
        read.strategy.get_or_insert_default();
        read.check_effects(own)?;
        Ok(read)
    }

    /// The object `ollm`, of which every field is known.
    fn fields<'a>(fields: &Fields<'a>) -> Result<Option<Fields<'a>>> {
        let own = fields.object("ollm")?;
        let unknown = own.iter().flat_map(Fields::entries).find(|(name, _)| !KNOWN.contains(&name.as_str()));
        match (&own, unknown) {
            (Some(own), Some((name, _))) => {
                Err(own.invalid(name, format!("it is not known: there are {}", KNOWN.join(", "))))
            }
            _ => Ok(own),
        }
    }

    /// That no field is without effect because of another one, or for want of it.
    fn check_effects(&self, own: &Fields<'_>) -> Result<()> {
        let idle: &[&str] = match self.strategy {
            None if self.backbone => &["branches", "expand", "score", "weight", "answer", "hold"],
            None => &["branches", "expand", "score", "weight", "answer"],
            Some(Strategy::Vote) => &["show_options"],
            Some(Strategy::Best | Strategy::Beam) => &["show_options", "weight"],
        };
        let Some(name) = idle.iter().find(|name| own.get(name).is_some()) else { return Ok(()) };
        let why = match self.strategy {
            None if *name == "hold" => "the backbone alone has no options to hold".to_owned(),
            None => "it has no effect without strategy".to_owned(),
            Some(strategy) => format!("it has no effect with the strategy {strategy}"),
        };
        Err(own.invalid(name, why))
    }

    /// That an answer of so many tokens, which is told as a whole, does not show too much.
    pub(crate) fn check_shown(&self, service: &Service, tokens: usize) -> Result<()> {
        let options = service.plugin.as_ref().map_or(0, |plugin| plugin.option_count());
        if self.show.unwrap_or(0).saturating_mul(options).saturating_mul(tokens) <= MAX_SHOWN_IN_ALL {
            return Ok(());
        }
        let message = format!(
            "a whole answer shows {MAX_SHOWN_IN_ALL} tokens of options at most: stream it, show fewer of each option, \
             or give max_tokens"
        );
        Err(ApiError::invalid("ollm.show_options", message))
    }

    /// Reads the object itself.
    fn of(own: &Fields<'_>, service: &Service) -> Result<Self> {
        let backbone = own.get("mode").is_some_and(|mode| mode == "backbone");
        let mode = if backbone { None } else { own.parsed::<LatentMode>("mode")? };
        let latent = own.integer("latent", 0..=u64::from(u32::MAX))?;
        if latent.is_some() && (mode.is_some() || backbone) {
            return Err(own.invalid("latent", "a latent is given, and so is a mode: leave one out"));
        }
        let show = match own.get("show_options") {
            Some(show) if show.is_boolean() => (show == true).then_some(3),
            _ => own.integer("show_options", 1..=MAX_SHOWN)?,
        };
        let expand = own.parsed::<Expansion>("expand")?;
        if expand.is_some_and(|expand| expand.count(0) as u64 > MAX_BRANCHES) {
            return Err(own.invalid("expand", format!("there may be {MAX_BRANCHES} branches at most")));
        }
        let read = Self {
            told: true,
            mode: latent.map(LatentMode::Fixed).or(mode),
            hold: own.parsed("hold")?,
            backbone,
            show,
            strategy: own.parsed("strategy")?,
            branches: own.integer("branches", 1..=MAX_BRANCHES)?,
            expand,
            score: own.parsed("score")?.unwrap_or_default(),
            weight: own.parsed("weight")?.unwrap_or_default(),
            answer: own.parsed("answer")?.unwrap_or_default(),
        };
        let needs = [
            ("latent", latent.is_some()),
            ("mode", read.mode.is_some()),
            ("hold", read.hold.is_some()),
            ("show_options", show.is_some()),
        ];
        if let Some((name, _)) = needs.into_iter().find(|(_, given)| *given && service.plugin.is_none()) {
            return Err(own.invalid(name, "the server has no plugin").with_code("no_plugin"));
        }
        read.check_plugin(own, service)?;
        Ok(read)
    }

    /// That the plugin has what is asked of it.
    fn check_plugin(&self, own: &Fields<'_>, service: &Service) -> Result<()> {
        let selects = if own.get("latent").is_some() { "latent" } else { "mode" };
        self.selector(service, 0).map_err(|error| own.invalid(selects, error))?;
        let plugin = service.plugin.as_deref();
        if let Some(expansion) = self.expand.filter(|expand| expand.needs_plugin() && plugin.is_none()) {
            let error = BranchError::NoPlugin { expansion };
            return Err(own.invalid("expand", error).with_code("no_plugin"));
        }
        if let (Some(Expansion::Top(count)), Some(options)) = (self.expand, plugin.map(Plugin::option_count))
            && count > options
        {
            return Err(own.invalid("expand", BranchError::Latents { count, options }));
        }
        let by_value = [("score", matches!(self.score, Score::Value)), ("weight", self.weight == Weight::Value)];
        match by_value.into_iter().find(|(_, needs)| *needs && !plugin.is_some_and(Plugin::has_value)) {
            Some((name, _)) => Err(own.invalid(name, BranchError::NoValue)),
            None => Ok(()),
        }
    }

    /// What selects latents; none leaves all to the backbone.
    pub(crate) fn selector(&self, service: &Service, seed: u64) -> std::result::Result<Option<Selector>, SelectError> {
        let Some(plugin) = service.plugin.as_ref().filter(|_| !self.backbone) else { return Ok(None) };
        let hold = HoldUntil::new(self.hold.unwrap_or(plugin.spec().hold), TokenEnds::new(&service.tokenizer));
        let mode = self.mode.clone().unwrap_or(LatentMode::Policy);
        Selector::new(mode, hold, plugin.option_count(), seed).map(Some)
    }

    /// The search that is asked for, with this strategy.
    pub(crate) fn search(
        &self,
        service: &Service,
        strategy: Strategy,
        sampling: &Sampling,
        limit: usize,
    ) -> SearchOptions {
        let plugin = service.plugin.as_deref().filter(|_| !self.backbone);
        let temperature = sampling.options.temperature;
        let defaults = BranchDefaults::new(strategy, self.branches, self.expand, self.hold, plugin, temperature);
        SearchOptions {
            strategy,
            expansion: defaults.expansion,
            width: defaults.width,
            score: self.score.clone(),
            weight: self.weight,
            answer: self.answer.clone(),
            branches: BranchOptions {
                latents: plugin.map(|_| self.mode.clone().unwrap_or(LatentMode::Policy)),
                hold: HoldUntil::new(defaults.hold, TokenEnds::new(&service.tokenizer)),
                sampling: sampling.options.clone(),
                stops: sampling.stops.clone(),
                limit,
            },
        }
    }
}
