//! What every training run shares: its folder, checkpoints, optimizer, order and early stopping.

pub mod checkpoint;
pub mod early_stopping;
pub mod optim;
pub(crate) mod order;
pub mod run;
