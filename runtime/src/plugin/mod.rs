//! The plugin: its schema and weights, and the ways to select a latent.

mod error;
mod hold;
pub mod schema;
mod select;
mod weights;

pub use error::PluginError;
pub use hold::{Hold, HoldUntil, TokenEnds, UnknownHold};
pub use select::{Callback, LatentMode, LatentState, SelectError, Selector, UnknownLatentMode};
pub(crate) use select::{check_latent, draw, most_probable};
pub use weights::Plugin;
pub(crate) use weights::{check_policy, check_value};
