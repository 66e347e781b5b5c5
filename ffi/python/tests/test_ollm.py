"""The package against a small model: test_ollm.py MODEL PLUGIN CHAT_MODEL ABI SCRATCH

MODEL and CHAT_MODEL, which has a chat template, are GGUF files; PLUGIN is one of MODEL with at least
four options; ABI is `ffi/abi.txt`; SCRATCH is a folder that may be written to.
"""

import copy
import ctypes
import gc
import inspect
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import ollm
from ollm import _call, c, model as model_module

# Whoever runs the tests may ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

MODEL, PLUGIN, CHAT, ABI, SCRATCH = sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1)
PROMPT = "Once upon a time there was"


class Boom(Exception):
    pass


def boom(*_):
    raise Boom("from a callback")


def said(tokens):
    """Ids and text of tokens. Half a character at the end is told by `run` alone."""
    tokens = list(tokens)
    return [token.id for token in tokens if token.id is not None], "".join(token.text for token in tokens).rstrip("\ufffd")


class Test(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = ollm.Model(MODEL)
        cls.plugin = ollm.Plugin(cls.model, PLUGIN)
        cls.chat = ollm.Model(CHAT)
        cls.pruned = ollm.Session(cls.model, threads=1, context=64).branches() if cls is Misuse else None

    def session(self, plugin=False, feed=PROMPT, **options):
        options.setdefault("threads", 2)
        session = ollm.Session(self.model, self.plugin if plugin else None, **options)
        if feed:
            session.feed(feed, bos=True)
        return session

    def fails(self, status):
        test = self

        class Fails:
            def __enter__(self):
                pass

            def __exit__(self, kind, error, _):
                test.assertIsInstance(error, ollm.Error)
                test.assertEqual(error.status, status, str(error))
                test.assertIn(f"OLLM_{status.name}: ", str(error))
                return True

        return Fails()


class Description(Test):
    def test_structs_lie_as_in_c(self):
        fields = 0
        with open(ABI) as abi:
            for line in abi:
                if " at " not in line:
                    continue
                what, place = line.rsplit(" at ", 1)
                struct, field = what.split(" ")[0].split(".")
                found = getattr(getattr(c, struct), field)
                self.assertEqual(f"{found.offset}, {found.size}", place.strip(), what)
                fields += 1
        self.assertGreater(fields, 150)

    def test_everything_has_documentation(self):
        functions = [value for name, value in vars(c).items() if name.startswith("ollm_") and hasattr(value, "argtypes")]
        documented = [function for function in functions if function.__doc__ and "Since" in function.__doc__]
        self.assertGreater(len(documented), 90)
        for name, value in vars(ollm).items():
            if name.startswith("_") or inspect.ismodule(value) or not getattr(value, "__module__", "").startswith("ollm"):
                continue
            self.assertTrue(value.__doc__, name)
            for method, function in vars(value).items() if inspect.isclass(value) else ():
                if not method.startswith("_") and (callable(function) or isinstance(function, property)):
                    self.assertTrue(function.__doc__, f"{name}.{method}")

    def test_versions(self):
        self.assertEqual(ollm.__version__, f"{c.OLLM_VERSION_MAJOR}.{c.OLLM_VERSION_MINOR}.{c.OLLM_VERSION_PATCH}")


class Models(Test):
    def test_sources_are_the_same_model(self):
        what = self.model.info()
        with open(MODEL, "rb") as file:
            data = file.read()
        padded = os.path.join(SCRATCH, "padded")
        with open(padded, "wb") as file:
            file.write(b"x" * 64 + data)
        with open(MODEL, "rb") as file, open(padded, "rb") as part:
            sources = [MODEL, data, bytearray(data), memoryview(data), file, ollm.Source(MODEL, copy=True)]
            sources += [ollm.Source(part, 64, len(data)), ollm.Source(file.fileno())]
            for source in sources:
                with ollm.Model(source) as model:
                    self.assertEqual(model.info(), what)
        del source, sources, model
        gc.collect()
        self.assertEqual(model_module._lent, {}, "memory is let go")

    def test_failures(self):
        for name, status in [("missing.gguf", ollm.Status.IO), (__file__, ollm.Status.BAD_FILE)]:
            with self.fails(status):
                ollm.Model(name)
        with self.fails(ollm.Status.BAD_FILE):
            ollm.Model(b"no model")
        self.assertEqual(model_module._lent, {})
        with self.fails(ollm.Status.MEMORY_LIMIT):
            ollm.Model(ollm.Source(MODEL, copy=True), memory_limit=1)
        for wrong in [7, None, True, 1.5, object()]:
            with self.assertRaises(TypeError):
                ollm.Model(wrong)
        with self.assertRaises(ValueError):
            ollm.Model("a\0b")
        with self.assertRaises(ollm.Error):
            ollm.Adapter(self.model, PLUGIN)
        with self.assertRaises(ollm.Error):
            ollm.Plugin(self.model)

    def test_progress(self):
        seen = []
        ollm.Model(MODEL, progress=seen.append).close()
        self.assertEqual((seen[-1], seen), (1.0, sorted(seen)))
        with self.fails(ollm.Status.CANCELLED):
            ollm.Model(MODEL, progress=lambda share: False)
        with self.assertRaises(Boom):
            ollm.Model(MODEL, progress=boom)

    def test_text(self):
        for text in ["Hello, world", "é 漢字 🙂 a\0b", "", "x" * 5000]:
            tokens = self.model.tokenize(text)
            self.assertEqual(self.model.detokenize(tokens), text)
            self.assertEqual(b"".join(map(self.model.token_bytes, tokens)), text.encode())
        for wrong in [-1, 1 << 32, "a", None, 1.5]:
            with self.assertRaises((TypeError, ValueError)):
                self.model.token_bytes(wrong)
            with self.assertRaises((TypeError, ValueError)):
                self.model.detokenize([wrong])
        with self.assertRaises(TypeError):
            self.model.tokenize(b"bytes")
        with self.assertRaises(UnicodeEncodeError):
            self.model.tokenize("\ud800")
        end = self.model.special(ollm.Special.EOS)
        self.assertTrue(self.model.is_end(end))
        self.assertEqual(self.model.metadata("general.architecture"), "llama")

    def test_memory_needed(self):
        small, large = (ollm.memory_needed(MODEL, PLUGIN, context=context) for context in (64, 128))
        self.assertTrue(0 < small.kv < large.kv and small.plugin > 0 and small.total < large.total)
        with self.assertRaises(TypeError):
            ollm.memory_needed(None)

    def test_handles(self):
        model = ollm.Model(MODEL)
        other = model.share()
        session = ollm.Session(model)
        model.close()
        model.close()
        self.assertTrue(model.closed and not other.closed)
        self.assertIn("closed", repr(model))
        with self.assertRaisesRegex(ValueError, "this Model is closed"):
            model.info()
        with self.assertRaisesRegex(ValueError, "closed"):
            with model:
                pass
        other.close()
        session.feed("x")
        for use in (copy.copy, copy.deepcopy, pickle.dumps):
            with self.assertRaises(TypeError):
                use(session)

    def test_log(self):
        seen = []
        ollm.set_log(lambda level, text: seen.append((level, text)))
        ollm.Model(MODEL).close()
        self.assertTrue(seen and isinstance(seen[0][0], ollm.LogLevel) and seen[0][1])
        reported, hook = [], sys.unraisablehook
        sys.unraisablehook = reported.append
        ollm.set_log(boom)
        ollm.Model(MODEL).close()
        sys.unraisablehook = hook
        self.assertIsInstance(reported[0].exc_value, Boom)
        ollm.set_log(None)
        count = len(seen)
        ollm.Model(MODEL).close()
        self.assertEqual(len(seen), count)


class Sessions(Test):
    def test_generating_is_running(self):
        seen, session = [], self.session()
        reason = session.run(seen.append, limit=24)
        text = "".join(token.text for token in seen)
        self.assertEqual(reason, ollm.Reason.LIMIT)
        generation = self.session().generate(24)
        self.assertEqual(said(generation), said(seen))
        self.assertEqual(generation.reason, ollm.Reason.LIMIT)
        # A stop string, over the borders of tokens too; and one that never ends.
        for stops in [[text[5:9]], [text[3:5], text[8:14]], [text[4:8] + "~", "~"], ["~"]]:
            ran = []
            reason = self.session().run(ran.append, limit=24, stops=stops)
            generation = self.session().generate(24, stops=stops)
            self.assertEqual(said(generation), said(ran))
            self.assertEqual(generation.reason, reason)
        self.assertEqual(list(generation), [])

    def test_a_full_context_is_an_error_of_the_iterator(self):
        session = self.session(context=16)
        room = 16 - session.position
        with self.fails(ollm.Status.CONTEXT_FULL):
            for count, token in enumerate(generation := session.generate(), 1):
                pass
        self.assertGreaterEqual(count, room)
        self.assertEqual((generation.reason, list(generation)), (ollm.Reason.CONTEXT, []))
        session = self.session(context=16, context_shift=True)
        self.assertEqual(len(list(session.generate(40))), 40)

    def test_logits_scores_and_states(self):
        session = self.session()
        logits = session.logits()
        self.assertEqual(len(memoryview(logits)), self.model.info()["vocabulary"])
        best = max(range(len(logits)), key=logits.__getitem__)
        hidden = session.hidden()
        self.assertEqual(len(hidden), self.model.info()["hidden"])
        session.set_sampling(logprobs=3)
        token = session.step()
        self.assertEqual((token.id, token.top[0].token, len(token.top)), (best, best, 3))
        most = max(logits)
        expected = logits[best] - most - math.log(sum(math.exp(logit - most) for logit in logits))
        self.assertAlmostEqual(token.logprob, expected, places=3)
        tokens = self.session().tokens()
        scores = self.session(feed=None).score(tokens + [best])
        self.assertTrue(math.isnan(scores[0]))
        self.assertAlmostEqual(scores[-1], token.logprob, places=4)
        vector = session.embed(PROMPT)
        self.assertAlmostEqual(sum(x * x for x in vector), 1.0, places=4)
        self.assertNotEqual(vector, session.embed(tokens, ollm.Pooling.LAST))
        self.assertEqual(session.tokens(), tokens)
        with self.assertRaises(ollm.Error) as caught:
            session.rank("a query", "a document")
        self.assertEqual(caught.exception.status, ollm.Status.UNSUPPORTED)

    def test_feed_and_rewind(self):
        session = self.session(feed=None)
        seen = []
        session.feed(self.model.tokenize(PROMPT), progress=seen.append)
        self.assertEqual(seen[-1], 1.0)
        position = session.position
        first = [token.id for token in session.generate(5)]
        session.rewind(position)
        self.assertEqual([token.id for token in session.generate(5)], first)
        with self.assertRaises(Boom):
            session.feed([1, 2], progress=boom)
        with self.assertRaises(ValueError):
            session.feed([1], bos=True)
        for wrong, kind in [([-1], ValueError), ([1 << 32], ValueError), (["a"], TypeError), (None, TypeError), (b"a", TypeError)]:
            with self.assertRaises(kind):
                session.feed(wrong)
        with self.fails(ollm.Status.INVALID_ARGUMENT):
            session.feed([1 << 31])
        session.rewind(0)
        self.assertEqual(session.tokens(), [])
        with self.fails(ollm.Status.EMPTY):
            session.step()

    def test_saving(self):
        session = self.session()
        saved, path = session.save(), os.path.join(SCRATCH, "session")
        session.save_file(path)
        expected = [token.id for token in session.generate(6)]
        for restore in [lambda new: new.restore(saved), lambda new: new.restore_file(path)]:
            new = self.session(feed=None)
            restore(new)
            self.assertEqual([token.id for token in new.generate(6)], expected)
        for wrong in [b"", saved[:-1], b"x" * 100]:
            with self.assertRaises(ollm.Error):
                new.restore(wrong)
        with self.assertRaises(TypeError):
            new.restore(None)
        cache = tempfile.mkdtemp(dir=SCRATCH)
        prompt = self.model.tokenize(PROMPT * 8)
        counts = [self.session(feed=None).feed_cached(prompt, cache, 1 << 24) for _ in range(2)]
        self.assertEqual(counts[0], 0)
        self.assertGreater(counts[1], 0)

    def test_sampling(self):
        draw = lambda **fields: [token.id for token in self.sampled(**fields).generate(12)]
        self.assertEqual(draw(temperature=1.5, seed=1), draw(temperature=1.5, seed=1))
        self.assertNotEqual(draw(temperature=1.5, seed=1), draw(temperature=1.5, seed=2))
        first = draw()[0]
        self.assertNotEqual(draw(biases={first: -math.inf})[0], first)
        self.assertEqual(draw(biases={5: 1e6}), [5] * 12)
        order = [ollm.Filter.TOP_K, ollm.Filter.TEMPERATURE]
        draw(temperature=1.0, top_k=5, order=order, dry_breakers=["\n"])
        with self.fails(ollm.Status.INVALID_ARGUMENT):
            draw(top_p=1.0, temperature=-1.0)
        for wrong in [{"top_k": -1}, {"top_k": 1 << 64}, {"seed": -1}, {"biases": {-1: 0.0}}]:
            with self.assertRaises(ValueError):
                draw(**wrong)
        for wrong in [{"top_k": 1.5}, {"temperature": "1"}, {"biases": [1]}, {"edit": 1}, {"none": 1}, {"dry_breakers": "a"}]:
            with self.assertRaises(TypeError):
                draw(**wrong)

    def sampled(self, **fields):
        session = self.session()
        session.set_sampling(**fields)
        return session

    def test_logits_can_be_edited(self):
        kept = []

        def only_nine(logits, tokens):
            kept.append((logits, list(tokens)))
            logits[9] = 1e9

        session = self.sampled(edit=only_nine)
        self.assertEqual([token.id for token in session.generate(3)], [9, 9, 9])
        self.assertEqual(kept[2][1][-2:], [9, 9])
        # Forks and branches have it, and it outlives the session that had it first.
        fork, branches = session.fork(), session.branches(limit=2)
        session.close()
        del session
        gc.collect()
        self.assertEqual(fork.step().id, 9)
        branches.step()
        self.assertEqual(branches[0].tokens, [9])
        for edit in [boom, lambda logits, tokens: logits.pop(), lambda: None]:
            session = self.sampled(edit=edit)
            before = session.tokens()
            with self.assertRaises((Boom, ValueError, TypeError)):
                session.step()
            self.assertEqual(session.tokens(), before)
            session.set_sampling(None)
            session.step()
        # What was shown are copies.
        gc.collect()
        self.assertEqual(kept[0][0][9], 1e9)

    def test_run_calls_back(self):
        session = self.session()
        self.assertEqual(session.run(lambda token: False), ollm.Reason.CALLBACK)
        with self.assertRaises(Boom):
            session.run(boom)
        # The call is over: the next one works.
        self.assertEqual(session.run(limit=1), ollm.Reason.LIMIT)
        for use in [session.step, session.position.__class__ and (lambda: session.position), session.close]:
            with self.fails(ollm.Status.BUSY):
                session.run(lambda token: use())
        for wrong in [{"stops": "a"}, {"stops": [None]}, {"limit": "a"}, {"each": 1}]:
            with self.assertRaises(TypeError):
                session.run(**wrong)
        with self.assertRaises(ValueError):
            session.run(limit=-1)
        with self.assertRaises(ValueError):
            session.generate(stops=[""])
        # A callback that runs another session, whose callback raises.
        other = self.session()
        with self.assertRaises(Boom):
            session.run(lambda token: other.run(boom))
        session.run(lambda token: other.step(), limit=2)

    def test_constraints(self):
        schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
        try:
            grammar = ollm.Grammar.json_schema(self.model, schema)
        except ollm.Error as error:
            self.assertEqual(error.status, ollm.Status.UNSUPPORTED)
            print("the library has no grammars: their test is skipped", file=sys.stderr)
            return
        session = self.session()
        session.set_constraint(grammar)
        generation = session.generate(64)
        list(generation)
        self.assertIn(json.loads(generation.text)["a"], [1, 2])
        self.assertTrue(session.is_complete)
        session.set_constraint(None)
        session.set_constraint(ollm.Grammar.regex(self.model, "[ab]{3}"), trigger="</think>")
        for make, text in [(ollm.Grammar.lark, 'start: "a"'), (ollm.Grammar.gbnf, 'root ::= "a"')]:
            session = self.session()
            session.set_constraint(make(self.model, text))
            generation = session.generate(4)
            list(generation)
            self.assertEqual(generation.text, "a")
        with self.fails(ollm.Status.INVALID_ARGUMENT):
            ollm.Grammar.regex(self.model, "(")
        with self.assertRaises(TypeError):
            session.set_constraint("a")

    def test_statistics_and_settings(self):
        session = self.session(kv_type=ollm.KvType.Q8_0)
        session.set_duty(0.9)
        session.step()
        self.assertEqual(session.statistics().generated, 1)
        self.assertGreater(session.memory(), 0)
        session.trim()
        session.set_adapters([])
        session.cancel()
        with self.fails(ollm.Status.CANCELLED):
            session.step()
        session.cancel()
        session.withdraw_cancel()
        session.step()
        for wrong in [{"context": -1}, {"threads": 1 << 64}, {"affinity": -1}]:
            with self.assertRaises(ValueError):
                self.session(**wrong)
        for wrong in [{"context": "a"}, {"pool": self.model}, {"start": 1}]:
            with self.assertRaises(TypeError):
                self.session(**wrong)

    def test_batches(self):
        prompts = [PROMPT, "The weather", "Two plus two is"]
        alone = [[token.id for token in self.session(feed=text).generate(4)] for text in prompts]
        sessions = [self.session(feed=text) for text in prompts]
        batch = ollm.Batch()
        steps = [batch.step(sessions) for _ in range(4)]
        self.assertEqual([[step[i].id for step in steps] for i in range(3)], alone)
        outcomes = batch.step([sessions[0], self.session(feed=None)])
        self.assertEqual((outcomes[0].__class__, outcomes[1].status), (ollm.Token, ollm.Status.EMPTY))
        with self.fails(ollm.Status.INVALID_ARGUMENT):
            batch.step([sessions[0], sessions[0]])
        with self.assertRaises(TypeError):
            batch.step([None])


class Options(Test):
    def test_an_option_set(self):
        session = self.session(plugin=True)
        options = session.option_set(top=3)
        self.assertEqual(len(options), self.plugin.option_count)
        self.assertAlmostEqual(sum(option.policy for option in options), 1.0, places=4)
        self.assertEqual([option.policy for option in options], list(session.policy()))
        self.assertTrue(all(len(option.top) == 3 for option in options))
        for option in options[:4]:
            self.assertEqual(session.fork().step(option.latent).id, option.top[0].token)
        logits = session.logits(ollm.Distribution.OPTION, 2)
        self.assertEqual(max(range(len(logits)), key=logits.__getitem__), options[2].top[0].token)
        self.assertEqual(session.encode(self.model.tokenize("a b"))[0] is None, False)
        with self.fails(ollm.Status.NO_PLUGIN):
            self.session().option_set()
        seen = []
        session.run(seen.append, limit=2, top=2)
        self.assertEqual(len(seen[0].options), len(options))
        self.assertEqual(self.plugin.info()["options"], len(options))

    def test_latents_are_selected(self):
        session = self.session(plugin=True)
        session.set_selection(mode=ollm.Select.FIXED, latents=[2])
        self.assertEqual([token.latent for token in session.generate(3)], [2, 2, 2])
        session.set_selection(ollm.Selection(ollm.Select.SCRIPT, [1, 0, 3], hold=ollm.Hold.TOKEN))
        self.assertEqual([token.latent for token in session.generate(3)], [1, 0, 3])
        seen = []
        session.set_selection(hold=ollm.Hold.TOKEN, choose=lambda hidden, policy: seen.append((hidden, policy)) or 1)
        self.assertEqual([token.latent for token in session.generate(2)], [1, 1])
        self.assertEqual(len(seen[0][0]), self.model.info()["hidden"])
        self.assertAlmostEqual(sum(seen[0][1]), 1.0, places=4)
        for choose, error in [(boom, Boom), (lambda *_: None, TypeError), (lambda *_: -1, ValueError)]:
            session.set_selection(choose=choose, hold=ollm.Hold.TOKEN)
            with self.assertRaises(error):
                session.step()
        session.set_selection(choose=lambda *_: 1000, hold=ollm.Hold.TOKEN)
        with self.fails(ollm.Status.INVALID_ARGUMENT):
            session.step()
        with self.assertRaises(TypeError):
            session.set_selection(ollm.Selection(), seed=1)

    def test_branches_vote(self):
        session = self.session(plugin=True)
        branches = session.branches(limit=6)
        seen = []
        found = branches.run(tally=ollm.Tally("text"), each=lambda all: seen.append(all))
        self.assertTrue(0 < found.confidence <= 1 and found.passes > 0)
        self.assertEqual(len(branches), self.plugin.option_count)
        self.assertEqual(branches[found.branch].text.strip(), found.answer)
        self.assertEqual([branch.text for branch in branches][-1], branches[-1].text)
        with self.assertRaises(IndexError):
            branches[len(branches)]
        self.assertTrue(seen and isinstance(seen[0][0], ollm.Branch))
        self.assertEqual(branches.vote(ollm.Tally("text")).answer, found.answer)
        vote = branches.vote(ollm.Tally(answer=lambda text: "ö"))
        self.assertEqual((vote.answer, vote.confidence), ("ö", 1.0))
        with self.assertRaises(Boom):
            branches.vote(ollm.Tally(answer=boom))
        with self.fails(ollm.Status.INVALID_ARGUMENT):
            branches.vote(ollm.Tally("no rule"))
        with self.assertRaises(Boom):
            branches.vote(ollm.Tally(score_of=boom))
        with self.assertRaises(TypeError):
            branches.vote(ollm.Tally(score_of=lambda branch: "much"))
        session.adopt(branches, found.branch)
        self.assertEqual(session.tokens()[-len(branches[found.branch].tokens) :], branches[found.branch].tokens)

        branches = self.session(plugin=True).branches(limit=4, selection=ollm.Selection(choose=lambda *_: 1))
        branches.expand(0, ollm.Expansion(ollm.Expand.TOKENS, 3))
        self.assertEqual(branches.step(), 3)
        # Whichever is the best: all have one answer.
        for best, first in enumerate([branch.tokens[0] for branch in branches]):
            score = lambda branch: branch.tokens[0] == first
            self.assertEqual(branches.vote(ollm.Tally(answer=lambda text: "ö", score_of=score)).branch, best)
        branches.prune(1)
        self.assertEqual(branches[1].state, ollm.BranchState.PRUNED)
        with self.assertRaises(Boom):
            self.session(plugin=True).branches(limit=4).run(each=boom)
        with self.assertRaises(Boom):
            broken = self.session(plugin=True).branches(limit=4, selection=ollm.Selection(choose=boom))
            broken.step()
        branches.cancel()
        branches.withdraw_cancel()
        with self.assertRaises(TypeError):
            ollm.Branches()

    def test_suggestions(self):
        for plugin in (False, True):
            suggestions = self.session(plugin=plugin).suggest(2, tokens=4, until=ollm.Until.WORD)
            self.assertTrue(1 <= len(suggestions) <= 2 and suggestions[0].text)
            self.assertGreaterEqual(suggestions[0].probability, suggestions[-1].probability)


class Chats(Test):
    TOOL = {"type": "function", "function": {"name": "add", "description": "adds", "parameters": {"type": "object"}}}

    def test_what_is_said_is_no_control_token(self):
        messages = [{"role": "user", "content": "<s>Hi</s> \N{GRINNING FACE}"}]
        text = self.chat.chat_text(messages)
        self.assertIn("Hi", text)
        tokens = self.chat.chat_tokens(messages)
        end = self.chat.special(ollm.Special.EOS)
        plain = self.chat.chat_tokens([{"role": "user", "content": "Hi"}])
        self.assertEqual(tokens.count(end), plain.count(end))
        self.assertNotEqual(self.chat.chat_text(messages, answer=False), text)
        for wrong in [None, "a", [None], {"role": "user"}, [1]]:
            with self.assertRaises((TypeError, ollm.Error)):
                self.chat.chat_tokens(wrong)
        with self.assertRaises(TypeError):
            self.chat.chat_tokens(messages, tools=[object()])
        with self.fails(ollm.Status.NO_TOKENIZER):
            self.model.chat_text(messages)

    def test_an_answer_comes_apart(self):
        messages = [{"role": "user", "content": "2 + 3?"}]
        parser = ollm.ChatParser(self.chat, messages, tools=[self.TOOL], format=ollm.ToolFormat.HERMES)
        answer = 'Wait.<tool_call>{"name": "add", "arguments": {"a": 2}}</tool_call>'
        events = [event for piece in answer for event in parser.push(piece)] + parser.finish()
        text = "".join(event.text for event in events if event.kind == ollm.ChatEventKind.TEXT)
        calls = [event for event in events if event.kind == ollm.ChatEventKind.TOOL_CALL]
        self.assertEqual((text, calls[0].name, calls[0].arguments), ("Wait.", "add", {"a": 2}))
        with self.assertRaises(ValueError):
            ollm.ChatParser(self.chat, tools=[self.TOOL])


class Threads(Test):
    def test_calls_run_at_the_same_time(self):
        expected = [token.id for token in self.session().generate(20)]
        found, failed = [None] * 4, []

        def work(index):
            try:
                found[index] = [token.id for token in self.session(threads=1).generate(20)]
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=[index]) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((failed, found), ([], [expected] * 4))

    def test_another_thread_cancels_and_closes(self):
        for end in [ollm.Session.cancel, ollm.Session.close]:
            session = self.session(context=64, context_shift=True)
            started, caught = threading.Event(), []

            def work():
                while not caught:
                    try:
                        session.run(lambda token: started.set())
                    except ollm.Error as error:
                        caught.extend([error.status] if error.status != ollm.Status.BUSY else [])
                    except ValueError as error:
                        caught.append(error)

            thread = threading.Thread(target=work)
            thread.start()
            started.wait()
            with self.fails(ollm.Status.BUSY):
                while not caught:
                    session.position
            end(session)
            thread.join()
            # A closed session may be met before a call, or in it.
            self.assertTrue(caught[0] == ollm.Status.CANCELLED or session.closed, caught)

    def test_workers_of_the_application(self):
        def start(worker):
            threading.Thread(target=worker.run, daemon=True).start()

        expected = [token.id for token in self.session().generate(5)]
        self.assertEqual([token.id for token in self.session(start=start).generate(5)], expected)
        with ollm.ThreadPool(2, start=start) as pool:
            self.assertEqual([token.id for token in self.session(pool=pool).generate(5)], expected)
        with self.assertRaises(Boom):
            self.session(start=boom)
        with self.assertRaises(Boom):
            ollm.ThreadPool(2, start=boom)
        self.assertEqual(len(list(self.session(pool=ollm.ThreadPool(2)).generate(2))), 2)

    def test_control_c_ends_a_call(self):
        session = self.session(context=64, context_shift=True)
        calls = [lambda: session.run(), lambda: session.run(lambda token: time.sleep(0.001))]
        calls += [lambda: list(session.generate()), lambda: session.run(lambda token: signal.raise_signal(signal.SIGINT))]
        for call in calls:
            timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
            timer.start()
            with self.assertRaises(KeyboardInterrupt):
                # An end token may come before the signal.
                while True:
                    call()
            timer.cancel()
            timer.join()
            self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
            session.run(limit=1)
        # A handler of the application.
        seen = []
        before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number) if not seen else boom())
        timers = [threading.Timer(wait, os.kill, [os.getpid(), signal.SIGINT]) for wait in (0.1, 0.3)]
        for timer in timers:
            timer.start()
        with self.assertRaises(Boom):
            while True:
                session.run()
        self.assertEqual(len(seen), 1)
        signal.signal(signal.SIGINT, before)


class Conversations(Test):
    def test_answers_are_messages_that_are_saved_and_taken_back(self):
        session = ollm.Session(self.chat, threads=1, context=256)
        conversation = ollm.Conversation(session)
        conversation.set_system("s")
        conversation.add("a")
        texts = []
        answer = conversation.answer(lambda event: texts.append(event.text), limit=5)
        self.assertTrue(answer.prompt_tokens > 0 and answer.answer_tokens <= 5 and answer.reused_tokens == 0)
        self.assertEqual([message["role"] for message in conversation.messages()][:2], ["system", "user"])
        conversation.add("b")
        self.assertGreater(conversation.answer(limit=2).reused_tokens, 0)
        path, before = os.path.join(SCRATCH, "conversation"), conversation.messages()
        conversation.save_file(path)
        self.assertGreater(conversation.take_back(), 0)
        self.assertLess(len(conversation.messages()), len(before))
        conversation.restore_file(path)
        self.assertEqual(conversation.messages(), before)
        with self.assertRaises(Boom):
            conversation.add("c")
            conversation.answer(lambda event: boom(), limit=50)

    def test_drafts_change_no_token(self):
        tokens = []
        for draft in [ollm.Draft.NONE, ollm.Draft.NGRAM, ollm.Draft.MODEL]:
            session = self.session(threads=1, context=64)
            session.set_draft(draft, self.model if draft == ollm.Draft.MODEL else None)
            tokens.append([session.step().id for _ in range(20)])
        self.assertEqual(tokens, [tokens[0]] * 3)
        self.assertGreater(session.statistics().accepted, 0)


class Misuse(Test):
    def test_wrong_arguments_are_exceptions(self):
        """Every method with one wrong argument at a time."""
        wrong = [None, -1, 1 << 70, "x\0\ud800", b"\xff", 1.5, object(), [object()], [-1], {}, boom]
        tried = 0
        for kind, name, function in self.methods():
            parameters = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
            for at in parameters:
                for value in wrong:
                    if at.kind == at.VAR_KEYWORD:
                        continue
                    values = {one.name: self.good(one.name) for one in parameters if one.default is one.empty and one.kind != one.VAR_KEYWORD}
                    values[at.name] = value
                    owner = self.owner(kind)
                    try:
                        made = getattr(owner, name)(**values) if name != "__init__" else kind(**values)
                        if inspect.isgenerator(made) or isinstance(made, ollm.Generation):
                            next(made, None)
                    except (Exception, Boom):
                        pass
                    self.assertIsNone(_call._thread.raised)
                    tried += 1
        self.assertGreater(tried, 700)

    def test_closed_objects_are_exceptions(self):
        tried = 0
        for kind, name, function in self.methods():
            owner = self.owner(kind)
            if name == "__init__" or not isinstance(owner, ollm._call.Handle) or inspect.isclass(owner):
                continue
            owner.close()
            parameters = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
            values = {one.name: self.good(one.name) for one in parameters if one.default is one.empty and one.kind != one.VAR_KEYWORD}
            if name == "close":
                continue
            with self.assertRaises(ValueError, msg=f"{kind.__name__}.{name}"):
                made = getattr(owner, name)(**values)
                next(made)
            tried += 1
        self.assertGreater(tried, 50)

    def methods(self):
        for kind in [getattr(ollm, name) for name in sorted(vars(ollm))]:
            if not inspect.isclass(kind) or not kind.__module__.startswith("ollm.") or kind.__module__ == "ollm.c":
                continue
            if issubclass(kind, (BaseException, tuple, ollm.Worker, ollm.Generation)):
                continue
            for name, function in inspect.getmembers(kind, callable):
                if name == "__init__" and kind is not ollm.Branches or not name.startswith("_"):
                    if not (kind is ollm.Source and name == "of"):
                        yield kind, name, function

    def owner(self, kind):
        if kind is ollm.Model:
            return ollm.Model(MODEL)
        if kind is ollm.Plugin:
            return ollm.Plugin(self.model, PLUGIN)
        if kind is ollm.Session:
            return self.session(plugin=True, threads=1, context=64)
        if kind is ollm.Branches:
            return self.session(plugin=True, threads=1, context=64).branches(limit=2)
        if kind is ollm.ChatParser:
            return ollm.ChatParser(self.chat)
        if kind is ollm.Conversation:
            return ollm.Conversation(ollm.Session(self.chat, threads=1, context=64))
        if kind in (ollm.ThreadPool, ollm.Batch):
            return kind()
        return kind

    def good(self, name):
        return {
            "model": self.model,
            "session": ollm.Session(self.chat, threads=1, context=64) if name == "session" else None,
            "draft": ollm.Draft.NONE,
            "content": "a",
            "count": 0,
            "document": "b",
            "file": MODEL,
            "place": MODEL,
            "kind": 1,
            "text": "a",
            "key": "general.architecture",
            "token": 1,
            "tokens": [1],
            "text_or_tokens": [1],
            "special": 1,
            "messages": [{"role": "user", "content": "a"}],
            "folder": os.path.join(SCRATCH, "folder"),
            "path": os.path.join(SCRATCH, "hostile"),
            "limit": 1 << 20,
            "position": 0,
            "query": "a",
            "adapters": [],
            "share": 1.0,
            "saved": b"",
            "branch": 0,
            "branches": self.pruned,
            "grammar": None,
            "sessions": [],
            "schema": {},
            "latent": 0,
        }[name]

    def test_an_interpreter_that_ends_with_everything_open(self):
        program = (
            "import ollm, sys, threading\n"
            "ollm.set_log(lambda level, text: None)\n"
            "model = ollm.Model(open(sys.argv[1], 'rb').read())\n"
            "start = lambda worker: threading.Thread(target=worker.run, daemon=True).start()\n"
            "session = ollm.Session(model, threads=2, start=start, context=64, context_shift=True)\n"
            "session.feed('a b')\n"
            "session.set_sampling(edit=lambda logits, tokens: session)\n"
            "branches = session.branches()\n"
            "threading.Thread(target=session.run, daemon=True).start()\n"
            "print('end')\n"
        )
        ended = subprocess.run([sys.executable, "-c", program, MODEL], capture_output=True, text=True, timeout=120)
        self.assertEqual((ended.returncode, ended.stdout), (0, "end\n"), ended.stderr)

    def test_a_library_that_is_not_there(self):
        environment = {**os.environ, "OLLM_LIBRARY": os.path.join(SCRATCH, "libmissing.so")}
        ended = subprocess.run([sys.executable, "-c", "import ollm"], capture_output=True, text=True, env=environment)
        self.assertIn("ImportError: the OLLM library cannot be loaded", ended.stderr)


if __name__ == "__main__":
    unittest.main()
