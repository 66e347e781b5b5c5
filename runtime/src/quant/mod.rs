//! stub
pub fn decode(_: crate::gguf::TensorType, _: &[u8], _: &mut [f32]) {}
pub fn encode(_: crate::gguf::TensorType, _: &[f32]) -> Result<Vec<u8>, ()> {
    Ok(vec![])
}
