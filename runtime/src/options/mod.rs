//! The options: the plugin's schema and weights, and the ways to select a latent.

mod plugin;
pub mod schema;
mod select;

pub use plugin::Plugin;
pub(crate) use plugin::check_policy;
pub use schema::PluginError;
use select::argmax;
pub(crate) use select::check;
pub use select::{Callback, Hold, LatentMode, LineEnds, SelectError, Selector};
