/*
 * Coroutines over the classes of org.ollm: suspend functions for the calls that compute, and generated tokens as a Flow.
 * Cancelling the coroutine cancels the call, waits until it has ended, and leaves the session as usable as before.
 */
package org.ollm.kotlin

import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.channelFlow
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.isActive
import kotlinx.coroutines.job
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import org.ollm.Branches
import org.ollm.Model
import org.ollm.OllmException
import org.ollm.Progress
import org.ollm.Session
import org.ollm.Source

/** The number of `OLLM_CANCELLED`. */
private const val CANCELLED = 6

/** Loads a model on a thread of [dispatcher]; [progress] is told how far it is, from 0 to 1. */
suspend fun loadModel(
    source: Source,
    options: Model.Options = Model.Options(),
    dispatcher: CoroutineDispatcher = Dispatchers.IO,
    progress: (Float) -> Unit = {},
): Model {
    val caller = currentCoroutineContext()
    val watched = Model.Options().apply {
        memoryLimit = options.memoryLimit
        threads = options.threads
        this.progress = Progress { share ->
            progress(share)
            options.progress?.onProgress(share) != false && caller.isActive
        }
    }
    // What was loaded when the coroutine is cancelled must be closed.
    val loaded = withContext(NonCancellable + dispatcher) { runCatching { Model.load(source, watched) } }
    if (!caller.isActive) loaded.getOrNull()?.close()
    caller.ensureActive()
    return loaded.getOrThrow()
}

/** A call that computes on this session, such as `session.running { feed(tokens) }`, on a thread of [dispatcher]. */
suspend fun <T> Session.running(dispatcher: CoroutineDispatcher = Dispatchers.IO, call: Session.() -> T): T =
    cancellable(dispatcher, ::cancel, ::withdrawCancel) { call() }

/** A call that computes on these branches, such as `branches.running { run(search, null) }`. */
suspend fun <T> Branches.running(dispatcher: CoroutineDispatcher = Dispatchers.IO, call: Branches.() -> T): T =
    cancellable(dispatcher, ::cancel, ::withdrawCancel) { call() }

/** Adds text to the session; [flags] are those of [Model.tokenize]. */
suspend fun Session.prefill(text: String, flags: Int = 0) = running { feed(text, flags) }

/**
 * Generates as the flow is collected, on a thread of [dispatcher]: until an end token, or until [options] say so. A collector
 * that ends early ends the generation; the session may then hold a token more than was collected.
 */
fun Session.generate(
    options: Session.RunOptions = Session.RunOptions(),
    dispatcher: CoroutineDispatcher = Dispatchers.IO,
): Flow<org.ollm.Token> = channelFlow {
    val producer = coroutineContext.job
    // A collector that is cancelled while it is slow cancels what waits for it.
    running(dispatcher) { run(options) { token -> runCatching { runBlocking(producer) { send(token) } }.isSuccess } }
}.buffer(Channel.RENDEZVOUS)

/** The text of [generate], piece by piece; it never cuts a character. */
fun Session.generateText(options: Session.RunOptions = Session.RunOptions()): Flow<String> =
    generate(options).map { it.text }

/** Runs a blocking call; [cancel] ends it, and [withdraw] takes back a cancellation that came too late. */
private suspend fun <T> cancellable(
    dispatcher: CoroutineDispatcher,
    cancel: () -> Unit,
    withdraw: () -> Unit,
    call: () -> T,
): T = withContext(dispatcher) {
    val lock = Any()
    var inside = true
    var cancelled = false
    // Resumes on the thread that cancels, since the one of this coroutine is inside the call.
    val canceller = launch(Dispatchers.Unconfined, CoroutineStart.UNDISPATCHED) {
        try {
            awaitCancellation()
        } finally {
            synchronized(lock) {
                if (inside) {
                    cancelled = true
                    runCatching(cancel)
                }
            }
        }
    }
    try {
        call()
    } catch (exception: OllmException) {
        if (exception.status() == CANCELLED) ensureActive()
        throw exception
    } finally {
        synchronized(lock) { inside = false }
        canceller.cancel()
        if (cancelled) runCatching(withdraw)
    }
}
