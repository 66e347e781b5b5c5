//! Names of the plugin's tensors, shared by the trainer's files and the GGUF file.

/// Norm of h before the decoder. [d].
pub const DECODER_NORM: &str = "ollm.decoder.norm.weight";
/// `W_g`. [u, d].
pub const DECODER_GATE: &str = "ollm.decoder.gate.weight";
/// `W_u`. [u, d].
pub const DECODER_UP: &str = "ollm.decoder.up.weight";
/// `W_o`. [d, u].
pub const DECODER_OUT: &str = "ollm.decoder.out.weight";
/// E, kind `swiglu`. [K, d].
pub const DECODER_EMBED: &str = "ollm.decoder.embed.weight";
/// The `V_z`, one below the other, kind `lowrank`. [K·r, d].
pub const DECODER_DELTA_IN: &str = "ollm.decoder.delta_in.weight";
/// The `O_z`, one below the other, kind `lowrank`. [K·d, r].
pub const DECODER_DELTA_OUT: &str = "ollm.decoder.delta_out.weight";
/// Norm of h before the encoder. [d].
pub const ENCODER_NORM_HIDDEN: &str = "ollm.encoder.norm_hidden.weight";
/// Norm of e(x) before the encoder. [d].
pub const ENCODER_NORM_TOKEN: &str = "ollm.encoder.norm_token.weight";
/// The encoder's perceptron: `.in.weight` [e, 2d], `.in.bias` [e], `.out.weight` [K, e], `.out.bias` [K].
pub const ENCODER: &str = "ollm.encoder";
/// Norm of h before the policy. [d].
pub const POLICY_NORM: &str = "ollm.policy.norm.weight";
/// The policy's perceptron: `.in.weight` [p, d], `.in.bias` [p], `.out.weight` [K, p], `.out.bias` [K].
pub const POLICY: &str = "ollm.policy";
