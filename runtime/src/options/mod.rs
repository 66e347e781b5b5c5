//! The options: the plugin's schema and weights, and the ways to select a latent.

mod plugin;
pub mod schema;
mod select;

pub use plugin::Plugin;
pub use schema::PluginError;
pub use select::{Hold, LatentMode, LineEnds, SelectError, Selector};
