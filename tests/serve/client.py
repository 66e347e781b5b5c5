"""The official client of OpenAI against `ollm-run serve`, and 200 requests of 16 clients at once.

    client.py OLLM_RUN MODEL [--plugin PLUGIN] [--javascript CLIENT.mjs] [--requests N]

Needs the package openai. Runs the client for JavaScript too, if it is named. Prints what it measured.
"""

import argparse
import asyncio
import itertools
import json
import pathlib
import statistics
import subprocess
import time

import openai

CLIENTS = 16
REQUESTS = 200
TOKENS = 32
TURNS = 5
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "stars": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["name", "stars"],
    "additionalProperties": False,
}
WORDS = "sea river wind stone cloud ember garden winter music letter".split()


def chat(client, text, **fields):
    """The first choice of a chat."""
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(model="m", messages=messages, **fields).choices[0]


def one_of_each(client, has_plugin):
    """What the client has a method for."""
    assert [model.id for model in client.models.list()] == ["m"]
    whole = chat(client, "Say hello.", max_tokens=16, seed=1, logprobs=True, top_logprobs=2)
    assert whole.message.content and len(whole.logprobs.content[0].top_logprobs) == 2
    messages = [{"role": "user", "content": "Say hello."}]
    stream = client.chat.completions.create(
        model="m", messages=messages, max_tokens=16, seed=1, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.message.content, (text, whole)
    assert chunks[-1].usage.completion_tokens > 0
    form = {"type": "json_schema", "json_schema": {"name": "rating", "schema": SCHEMA, "strict": True}}
    rated = json.loads(chat(client, "Rate the film Alien.", max_tokens=64, seed=1, response_format=form).message.content)
    assert 1 <= rated["stars"] <= 5 and isinstance(rated["name"], str), rated
    completion = client.completions.create(model="m", prompt=["Once", "Twice"], max_tokens=4, n=2, seed=1)
    assert [choice.index for choice in completion.choices] == [0, 1, 2, 3]
    # The client asks for base64 by itself.
    vectors = client.embeddings.create(model="m", input=["a text", "another text"]).data
    assert abs(sum(x * x for x in vectors[0].embedding) - 1) < 1e-3
    try:
        chat(client, "x", temperature=9)
        raise AssertionError("a temperature of 9 was taken")
    except openai.BadRequestError as error:
        assert error.param == "temperature", error
    try:
        client.chat.completions.create(model="other", messages=messages)
        raise AssertionError("another model was taken")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    if has_plugin:
        held = chat(client, "Say hello.", max_tokens=8, seed=1, extra_body={"ollm": {"latent": 1, "show_options": 2}})
        assert all(step["latent"] == 1 and step["options"] for step in held.ollm["steps"] if step["latent"] is not None)


async def all_at_once(url, key, requests, clients, told=lambda done: None):
    """The texts of the requests, and how long they took; `told` hears how many are answered."""
    room, texts, done = asyncio.Semaphore(clients), [None] * requests, itertools.count(1)

    async def one(client, number):
        words = [WORDS[(number * 7 + i) % len(WORDS)] for i in range(2)]
        async with room:
            reply = await client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": f"Write about {words[0]} and {words[1]} ({number})."}],
                max_tokens=TOKENS,
                seed=number,
            )
        texts[number] = reply.choices[0].message.content
        told(next(done))

    begin = time.monotonic()
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
        await asyncio.gather(*(one(client, number) for number in range(requests)))
    return texts, time.monotonic() - begin


def memory(pid):
    """Resident memory in MB: the process's own, and with the pages of the model's file."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return [int(fields[name].split()[0]) // 1000 for name in ("RssAnon", "VmRSS")]


def compare_rates(url, key, requests):
    """How many requests a second one client has answered, and all at once: medians of turns."""
    alone, together = [], []
    for _ in range(TURNS):
        few, many = max(requests // 50, 1), max(requests // 5, CLIENTS)
        alone.append(few / asyncio.run(all_at_once(url, key, few, 1))[1])
        together.append(many / asyncio.run(all_at_once(url, key, many, CLIENTS))[1])
    alone, together = statistics.median(alone), statistics.median(together)
    print(f"1 client: {alone:.2f} requests/s; {CLIENTS}: {together:.2f} ({together / alone:.1f} times)", flush=True)


def check_texts(url, key, pid, requests):
    """None is lost, each is that of the request alone, and memory stays as it is."""
    some = max(requests // 10, 1)
    alone, _ = asyncio.run(all_at_once(url, key, some, 1))
    marks = {max(requests * part // 10, 1) for part in (1, 5, 10)}

    def told(done):
        if done in marks:
            print("after {} requests: {} MB of memory, {} with the file's pages".format(done, *memory(pid)), flush=True)

    texts, _ = asyncio.run(all_at_once(url, key, requests, CLIENTS, told))
    assert None not in texts and texts[:some] == alone, "a text is lost, or not that of the request alone"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ollm_run")
    parser.add_argument("model")
    parser.add_argument("--plugin")
    parser.add_argument("--javascript", help="client.mjs, beside a folder node_modules with the package openai")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    args = parser.parse_args()
    key = "sesame"
    plugin = ["--plugin", args.plugin] if args.plugin else []
    command = [args.ollm_run, "serve", "-m", args.model, *plugin, "--port", "0", "--alias", "m", "--api-key", key]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().split()[-1] + "/v1"
        one_of_each(openai.OpenAI(base_url=url, api_key=key, max_retries=0), bool(args.plugin))
        print("the client: all well")
        if args.javascript:
            subprocess.run(["node", args.javascript, url.removesuffix("/v1"), key], check=True)
        check_texts(url, key, server.pid, args.requests)
        # Of few requests a rate says nothing.
        if args.requests >= REQUESTS:
            compare_rates(url, key, args.requests)
    finally:
        server.terminate()
        assert server.wait(60) == 0


if __name__ == "__main__":
    main()
