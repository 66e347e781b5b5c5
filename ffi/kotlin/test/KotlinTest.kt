import java.util.concurrent.CountDownLatch
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.joinAll
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeoutOrNull
import org.ollm.Branches
import org.ollm.Model
import org.ollm.OllmException
import org.ollm.Plugin
import org.ollm.Session
import org.ollm.Source
import org.ollm.kotlin.generate
import org.ollm.kotlin.generateText
import org.ollm.kotlin.loadModel
import org.ollm.kotlin.prefill
import org.ollm.kotlin.running

private val PROMPT = intArrayOf(10, 200, 31, 47, 5)

private fun session(model: Model, plugin: Plugin?, positions: Long): Session {
    val session = Session(model, plugin, Session.Options().apply { context = positions; threads = 1 })
    session.feed(PROMPT)
    return session
}

private fun limited(tokens: Long) = Session.RunOptions().apply { limit = tokens }

private suspend fun flowsAreRuns(model: Model, plugin: Plugin) {
    session(model, plugin, 64).use { one ->
        val expected = mutableListOf<Int>()
        one.fork().use { fork -> fork.run(limited(12)) { expected.add(it.id) } }
        val tokens = one.generate(limited(12)).toList()
        check(tokens.map { it.id } == expected) { "tokens" }
        one.rewind(PROMPT.size.toLong())
        check(one.generateText(limited(12)).toList().joinToString("") == tokens.joinToString("") { it.text }) { "text" }
        one.rewind(PROMPT.size.toLong())
        // A collector that ends early ends the generation, and the session lives on.
        check(one.generate().take(3).toList().map { it.id } == expected.take(3)) { "taken" }
        check(one.position() - PROMPT.size in 3L..5L) { "position ${one.position()}" }
        one.prefill("one and one")
        // Errors come out of the collection.
        try {
            one.generate(Session.RunOptions().apply { limit = 1000 }).toList()
            check(false) { "the context has no end" }
        } catch (exception: OllmException) {
            check(exception.status() == 16) { exception.toString() }
        }
    }
}

private suspend fun cancellationEndsTheCall(model: Model) = runBlocking {
    session(model, null, 1 shl 20).use { session ->
        val inside = CountDownLatch(1)
        val job = launch(Dispatchers.Default) {
            session.running { run(Session.RunOptions()) { inside.countDown(); true } }
        }
        inside.await()
        job.cancelAndJoin()
        // The call has ended, and the next one is not cancelled.
        val position = session.position()
        check(position > PROMPT.size) { "position" }
        session.step()
        check(session.position() == position + 1) { "step" }
        session.rewind(PROMPT.size.toLong())
        check(withTimeoutOrNull(50) { session.generate().collect { delay(10_000) } } == null) { "timeout" }
        repeat(50) { i ->
            // Wherever the cancellation comes: the session stays usable.
            val racing = launch(Dispatchers.Default) { session.running { step() } }
            delay(i % 3L)
            racing.cancelAndJoin()
            session.step()
        }
        // A cancellation that is not the coroutine's comes out as such.
        session.cancel()
        try {
            session.running { step() }
            check(false) { "cancelled" }
        } catch (exception: OllmException) {
            check(exception.status() == 6) { exception.toString() }
        }
    }
}

private suspend fun branchesSearch(model: Model, plugin: Plugin) {
    session(model, plugin, 64).use { session ->
        session.branches(Branches.Options().apply { limit = 4 }).use { branches ->
            val found = branches.running { run(Branches.Search().apply { tally = Branches.Tally("text") }, null) }
            check(found.branch < branches.count()) { "found" }
        }
    }
}

private suspend fun loadsAreCancelled(path: String) = runBlocking {
    var last = 0f
    loadModel(Source.file(path)) { last = it }.use { check(last == 1f) { "progress" } }
    val inside = CountDownLatch(1)
    val job = async(Dispatchers.Default) {
        loadModel(Source.file(path)) {
            inside.countDown()
            Thread.sleep(100)
        }
    }
    inside.await()
    job.cancel()
    try {
        job.await()
        check(false) { "loaded" }
    } catch (exception: CancellationException) {
    }
}

fun main(args: Array<String>) = runBlocking {
    loadsAreCancelled(args[0])
    Model.load(args[0]).use { model ->
        Plugin.load(model, args[1]).use { plugin ->
            flowsAreRuns(model, plugin)
            cancellationEndsTheCall(model)
            branchesSearch(model, plugin)
        }
    }
    println("ok kotlin")
}
