//! Any bytes as a model file: parsed, loaded, its tokenizer and its chat template used, a few
//! tokens generated. Begin with the tiny models of `tests/goldens/tiny` as the corpus.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use ollm_runtime::chat::{ChatTemplate, Message, Variables};
use ollm_runtime::model::Model;
use ollm_runtime::plugin::Plugin;
use ollm_runtime::sampler::{Sampler, SamplerOptions};
use ollm_runtime::session::{Session, SessionOptions};
use ollm_runtime::storage::Storage;
use ollm_runtime::tokenizer::Tokenizer;

fuzz_target!(|bytes: &[u8]| {
    let Ok(storage) = Storage::copied(bytes) else { return };
    let Ok(model) = Model::from_storage(storage) else { return };
    let metadata = model.gguf().metadata();
    if let Ok(tokenizer) = Tokenizer::from_metadata(metadata) {
        let _ = tokenizer.encode("Two plus two is four, \u{e9}\u{301} <|im_end|>", true);
        if let Ok(template) = ChatTemplate::from_metadata(metadata) {
            let prompt = template.render(&[Message::new("user", "Hello <s>")], &Variables::new(), true, &tokenizer);
            let _ = prompt.map(|prompt| prompt.tokens(&tokenizer));
        }
    }
    let model = Arc::new(model);
    let plugin = Plugin::bundled(&model).ok().flatten().map(Arc::new);
    let options = SessionOptions { threads: 1, context: 8, ..SessionOptions::default() };
    let Ok(mut session) = Session::new(model, plugin, &options) else { return };
    let Ok(mut sampler) = Sampler::new(SamplerOptions::default()) else { return };
    if session.feed(&[0, 1]).is_ok() {
        let _ = session.step(None, &mut sampler);
    }
});
