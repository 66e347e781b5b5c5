//! The plugin: its schema and weights, and the ways to select a latent.

pub mod schema;
mod select;
mod weights;

pub use schema::PluginError;
use select::argmax;
pub(crate) use select::check;
pub use select::{Callback, Hold, LatentMode, LineEnds, SelectError, Selector};
pub use weights::Plugin;
pub(crate) use weights::check_policy;
