// OllmCheck MODEL PLUGIN: does what the overlay can do, and says "ok swift".

import COllm
import Ollm

let arguments = CommandLine.arguments
guard arguments.count == 3 else { fatalError("usage: OllmCheck MODEL PLUGIN") }
let model = try Model(path: arguments[1])
let plugin = try Plugin(model: model, path: arguments[2])
precondition(try model.detokenize(model.tokenize("Once é 🙂")) == "Once é 🙂")

let session = try Session(model: model, plugin: plugin)
try session.feed("Once upon a time", bos: true)
let start = try session.position()
let options = try session.optionSet(top: 2)
precondition(options.count == (try plugin.optionCount()) && options[0].top.count == 2)
precondition(try session.fork().step().id == session.fork().step().id)

try session.select(latent: 2)
var tokens: [UInt32] = []
for try await token in session.generate(limit: 5) {
    precondition(token.latent == 2)
    tokens.append(token.id)
}
try session.rewind(to: start)
for id in tokens { precondition(try session.step().id == id) }
try session.select(latent: nil)

var sampling = ollm_sampling_init()
sampling.temperature = 1
sampling.seed = 7
try session.setSampling(sampling)
_ = try session.step()
precondition(try session.logits().count > 0)
let found = try session.vote(limit: 4)
precondition(found.confidence >= 0 && found.confidence <= 1)

do {
    try session.rewind(to: 1 << 40)
    fatalError("a position that is not there")
} catch let error as OllmError {
    precondition(error.status == 1 && error.description.hasPrefix("OLLM_INVALID_ARGUMENT: "))
}
print("ok swift")
