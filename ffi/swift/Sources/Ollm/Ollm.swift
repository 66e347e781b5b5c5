// A thin overlay over the C API (`ollm.h`): objects that free themselves, errors that are thrown,
// text as String, tokens as a sequence and as an AsyncThrowingStream. What is not here is called on
// `handle`, with `import COllm`.

import COllm

/// Why a call failed.
public struct OllmError: Error, CustomStringConvertible {
    /// Of `ollm_status`.
    public let status: Int32
    /// What, where, and what to do.
    public let message: String

    public var description: String { "\(String(cString: ollm_status_name(status))): \(message)" }
}

/// Throws the failure of a call on this thread.
func check(_ status: ollm_status) throws {
    guard status == 0 else { throw OllmError(status: status, message: String(cString: ollm_last_error())) }
}

/// The handle that a call makes.
func make(_ call: (UnsafeMutablePointer<OpaquePointer?>) -> ollm_status) throws -> OpaquePointer {
    var made: OpaquePointer?
    try check(call(&made))
    return made!
}

/// A text for C: its bytes, which may have zeros, and their number.
func withText<R>(_ text: String, _ body: (UnsafePointer<CChar>?, Int) throws -> R) rethrows -> R {
    try Array(text.utf8).withUnsafeBufferPointer { bytes in
        try bytes.withMemoryRebound(to: CChar.self) { try body($0.baseAddress, $0.count) }
    }
}

/// A text of C.
func text(_ bytes: UnsafePointer<CChar>?, _ length: Int) -> String {
    guard let bytes = bytes else { return "" }
    let buffer = UnsafeRawBufferPointer(start: bytes, count: length)
    return String(decoding: buffer, as: UTF8.self)
}

/// Numbers of which C tells first how many there are.
func numbers<T>(
    _ zero: T, _ call: (UnsafeMutablePointer<T>?, Int, UnsafeMutablePointer<Int>) -> ollm_status
) throws -> [T] {
    var count = 0
    try check(call(nil, 0, &count))
    var values = [T](repeating: zero, count: max(count, 1))
    let room = values.count
    try check(values.withUnsafeMutableBufferPointer { call($0.baseAddress, room, &count) })
    return Array(values.prefix(count))
}

/// A text of which C tells first how long it is.
func string(
    _ call: (UnsafeMutablePointer<CChar>?, Int, UnsafeMutablePointer<Int>) -> ollm_status
) throws -> String {
    var length = 0
    try check(call(nil, 0, &length))
    var bytes = [CChar](repeating: 0, count: length + 1)
    let room = bytes.count
    try check(bytes.withUnsafeMutableBufferPointer { call($0.baseAddress, room, &length) })
    return bytes.withUnsafeBufferPointer { text($0.baseAddress, length) }
}

/// A backbone with its tokenizer. Any number of sessions and threads share it.
public final class Model: @unchecked Sendable {
    public let handle: OpaquePointer

    /// Maps a GGUF file.
    public init(path: String) throws {
        handle = try path.withCString { path in
            var source = ollm_source_file(path)
            return try make { ollm_model_load(&source, nil, $0) }
        }
    }

    deinit {
        var handle: OpaquePointer? = self.handle
        _ = ollm_model_release(&handle)
    }

    /// What the model is, as JSON.
    public func info() throws -> String {
        try string { ollm_model_info(handle, $0, $1, $2) }
    }

    /// The tokens of a text. With `special` the text of a control token becomes that token: only
    /// for text that you trust.
    public func tokenize(_ text: String, special: Bool = false, bos: Bool = false) throws -> [UInt32] {
        let flags: UInt32 = (special ? 1 : 0) | (bos ? 2 : 0)
        return try withText(text) { bytes, length in
            try numbers(0) { ollm_tokenize(handle, bytes, length, flags, $0, $1, $2) }
        }
    }

    public func detokenize(_ tokens: [UInt32]) throws -> String {
        try string { ollm_detokenize(handle, tokens, tokens.count, $0, $1, $2) }
    }

    /// The tokens of a conversation, to be fed: messages as a JSON list, variables of the chat
    /// template (`tools` and others) as a JSON object. What is said is never a control token.
    public func chatTokens(messagesJSON: String, variablesJSON: String? = nil) throws -> [UInt32] {
        try withText(messagesJSON) { messages, length in
            try withText(variablesJSON ?? "") { variables, variablesLength in
                var input = ollm_chat_input_init()
                input.messages_json = messages
                input.messages_json_length = length
                if variablesJSON != nil {
                    input.variables_json = variables
                    input.variables_json_length = variablesLength
                }
                return try numbers(0) { ollm_chat_tokens(handle, &input, $0, $1, $2) }
            }
        }
    }
}

/// The plugin of a model.
public final class Plugin: @unchecked Sendable {
    public let handle: OpaquePointer

    /// From a file; without a path, that inside the model's own file.
    public init(model: Model, path: String? = nil) throws {
        guard let path = path else {
            handle = try make { ollm_plugin_bundled(model.handle, $0) }
            return
        }
        handle = try path.withCString { path in
            var source = ollm_source_file(path)
            return try make { ollm_plugin_load(model.handle, &source, $0) }
        }
    }

    deinit {
        var handle: OpaquePointer? = self.handle
        _ = ollm_plugin_release(&handle)
    }

    /// K, the number of options.
    public func optionCount() throws -> Int {
        var count = 0
        try check(ollm_plugin_option_count(handle, &count))
        return count
    }
}

/// What generated text keeps to.
public final class Grammar: @unchecked Sendable {
    public enum Kind: Int32 {
        case jsonSchema = 0, regex, lark, gbnf
    }

    public let handle: OpaquePointer

    public init(model: Model, kind: Kind, text: String) throws {
        handle = try withText(text) { bytes, length in
            try make { ollm_grammar_new(model.handle, kind.rawValue, bytes, length, $0) }
        }
    }

    deinit {
        var handle: OpaquePointer? = self.handle
        _ = ollm_grammar_free(&handle)
    }
}

/// A generated token.
public struct Token: Sendable {
    public let id: UInt32
    /// The text that is complete with it.
    public let text: String
    /// The latent whose option it comes from.
    public let latent: Int?
    public let logprob: Float
    /// Whether a text or a turn ends with it.
    public let isEnd: Bool

    init(_ token: ollm_token) {
        id = token.id
        text = Ollm.text(token.text, token.text_length)
        latent = token.latent < 0 ? nil : Int(token.latent)
        logprob = token.logprob
        isEnd = token.is_end != 0
    }
}

/// One option of an option set.
public struct Option: Sendable {
    public let latent: Int
    /// The policy's probability of it.
    public let policy: Float
    /// Its most probable tokens, best first, with their probabilities.
    public let top: [(token: UInt32, probability: Float)]
}

/// What a search found.
public struct Found: Sendable {
    public let branch: Int
    public let answer: String?
    public let confidence: Double
}

/// A sequence of tokens on a model. One thread at a time; `cancel` is for any thread.
public final class Session: @unchecked Sendable {
    public let handle: OpaquePointer

    /// `options` begin as `ollm_session_options_init()`.
    public init(model: Model, plugin: Plugin? = nil, options: ollm_session_options? = nil) throws {
        var options = options ?? ollm_session_options_init()
        handle = try make { ollm_session_new(model.handle, plugin?.handle, &options, $0) }
    }

    private init(owning handle: OpaquePointer) {
        self.handle = handle
    }

    deinit {
        var handle: OpaquePointer? = self.handle
        _ = ollm_session_free(&handle)
    }

    /// A second session with the same text.
    public func fork() throws -> Session {
        Session(owning: try make { ollm_session_fork(handle, $0) })
    }

    public func feed(_ tokens: [UInt32]) throws {
        try check(ollm_session_feed(handle, tokens, tokens.count))
    }

    public func feed(_ text: String, special: Bool = false, bos: Bool = false) throws {
        let flags: UInt32 = (special ? 1 : 0) | (bos ? 2 : 0)
        try withText(text) { try check(ollm_session_feed_text(handle, $0, $1, flags)) }
    }

    /// The number of tokens so far.
    public func position() throws -> Int {
        var position = 0
        try check(ollm_session_position(handle, &position))
        return position
    }

    public func rewind(to position: Int) throws {
        try check(ollm_session_rewind(handle, position))
    }

    /// `sampling` begins as `ollm_sampling_init()`.
    public func setSampling(_ sampling: ollm_sampling) throws {
        var sampling = sampling
        try check(ollm_session_set_sampling(handle, &sampling))
    }

    /// Always the option of this latent; nil takes what the policy finds most probable.
    public func select(latent: UInt32?) throws {
        guard var latent = latent else { return try check(ollm_session_set_selection(handle, nil)) }
        try withUnsafePointer(to: &latent) { latent in
            var selection = ollm_selection_init()
            selection.mode = 3
            selection.latents = latent
            selection.latent_count = 1
            try check(ollm_session_set_selection(handle, &selection))
        }
    }

    /// Keeps what is generated to a grammar; nil leaves it free.
    public func constrain(_ grammar: Grammar?) throws {
        try check(ollm_session_set_constraint(handle, grammar?.handle, nil))
    }

    /// Chooses the next token, and adds it to the sequence.
    public func step() throws -> Token {
        var token = ollm_token_init()
        try check(ollm_session_step(handle, &token))
        return Token(token)
    }

    /// The tokens of an answer, up to an end token, `limit` of them at most. The session computes
    /// on a thread of its own, and is not to be used until the stream ends; whoever stops listening
    /// cancels it.
    public func generate(limit: Int) -> AsyncThrowingStream<Token, Error> {
        AsyncThrowingStream { continuation in
            let work = Task.detached {
                do {
                    for _ in 0..<max(limit, 0) where !Task.isCancelled {
                        let token = try self.step()
                        if token.isEnd { break }
                        continuation.yield(token)
                    }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
            continuation.onTermination = { _ in work.cancel() }
        }
    }

    /// Any thread.
    public func cancel() throws {
        try check(ollm_session_cancel(handle))
    }

    /// The option set of the current step, with the `top` most probable tokens of each option.
    public func optionSet(top: Int) throws -> [Option] {
        var set: OpaquePointer? = try make { ollm_option_set_new(handle, top, $0) }
        defer { _ = ollm_option_set_free(&set) }
        let policy = try numbers(Float(0)) { ollm_option_set_policy(set, $0, $1, $2) }
        return try policy.enumerated().map { latent, share in
            let found = try numbers(ollm_candidate()) { ollm_option_set_top(set, UInt32(latent), $0, $1, $2) }
            return Option(latent: latent, policy: share, top: found.map { ($0.token, $0.probability) })
        }
    }

    /// All options answer, with `limit` tokens at most, and vote.
    public func vote(limit: Int) throws -> Found {
        var options = ollm_branch_options_init()
        options.limit = limit
        var branches: OpaquePointer? = try make { ollm_branches_new(handle, &options, $0) }
        defer { _ = ollm_branches_free(&branches) }
        var found = ollm_found_init()
        try check(ollm_branches_run(branches, nil, &found))
        let answer = found.answer == nil ? nil : text(found.answer, found.answer_length)
        return Found(branch: found.branch, answer: answer, confidence: found.confidence)
    }

    /// The logits of the next token, of the backbone.
    public func logits() throws -> [Float] {
        try numbers(Float(0)) { ollm_session_logits(handle, 0, 0, $0, $1, $2) }
    }

    public func save(path: String) throws {
        try path.withCString { try check(ollm_session_save_file(handle, $0)) }
    }

    public func restore(path: String) throws {
        try path.withCString { try check(ollm_session_restore_file(handle, $0)) }
    }
}
