"""Times PyTorch on a CPU at the shapes that Skylight's benchmarks have, and writes log-probabilities to compare with.

Usage: python3 bench/baselines/torch_cpu.py OUTPUT.json [products] [model] [training]
       python3 bench/baselines/torch_cpu.py OUTPUT.json accuracy CHECKPOINT      (for `Skylight.Bench accuracy`)

Eager, bfloat16, two threads. Attention is written out (softmax of a product): scaled_dot_product_attention in bfloat16 is many times slower on a CPU in some builds.
oneDNN takes what the processor has; with ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 it leaves AMX out, as Skylight does. The results name it. Weights are random, of InternVL3-1B's shape:
the functions below are its encoder, connector and language model. Needs python3-torch and python3-numpy (Debian sid has both) and nothing else. Skylight itself needs no Python.
"""
import json
import math
import os
import platform
import statistics
import sys
import time

import numpy
import torch
import torch.nn.functional as F

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
torch.set_num_threads(THREADS)
HIDDEN, LAYERS, HEADS, KEY_VALUE_HEADS, HEAD, INTERMEDIATE, VOCABULARY, THETA = 896, 24, 14, 2, 64, 4864, 151674, 1e6
VISION, VISION_LAYERS, VISION_HEADS, VISION_INTERMEDIATE, PATCHES, PATCH = 1024, 24, 16, 4096, 1024, 14
rows = []


def measure(name, run, work, unit, seconds=4.0, least=3):
    """The median time of `run`, after two runs that warm up, beside the speed of reading memory in turn with it."""
    buffer = measure.buffer
    run(), run()
    times, reads, begin = [], [], time.perf_counter()
    while len(times) < least or (time.perf_counter() - begin < seconds and len(times) < 41):
        start = time.perf_counter()
        buffer.sum()
        reads.append(time.perf_counter() - start)
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    median = statistics.median(times)
    rows.append({"name": name, "seconds": round(median, 6), "shortest_seconds": round(min(times), 6), "runs": len(times),
                 unit: round(work / median, 1), "read_gbs": round(buffer.numel() * 4 / statistics.median(reads) / 1e9, 1)})
    print(f"{name:44} {median * 1e3:10.2f} ms {work / median:10.1f} {unit}  (at best {work / min(times):.1f})", flush=True)


measure.buffer = torch.ones(64 << 20)


def random(*shape):
    """Numbers that keep activations of order one."""
    return torch.empty(*shape).uniform_(-1, 1).mul_(math.sqrt(3 / shape[-1])).bfloat16()


def language_weights():
    layers = [{
        "norm": torch.ones(HIDDEN).bfloat16(), "qkv": random((HEADS + 2 * KEY_VALUE_HEADS) * HEAD, HIDDEN),
        "bias": torch.zeros((HEADS + 2 * KEY_VALUE_HEADS) * HEAD).bfloat16(), "out": random(HIDDEN, HEADS * HEAD),
        "norm2": torch.ones(HIDDEN).bfloat16(), "gate_up": random(2 * INTERMEDIATE, HIDDEN), "down": random(HIDDEN, INTERMEDIATE),
    } for _ in range(LAYERS)]
    return {"embedding": random(VOCABULARY, HIDDEN), "layers": layers, "norm": torch.ones(HIDDEN).bfloat16(), "head": random(VOCABULARY, HIDDEN)}


def rms_norm(x, weight, epsilon=1e-6):
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)).to(x.dtype)


def rotate(x, positions):
    """Rotary embedding of [batch, heads, tokens, HEAD]: halves are pairs."""
    angles = positions[:, None].float() / THETA ** (torch.arange(0, HEAD, 2) / HEAD)
    cos, sin = (torch.cat((f(angles), f(angles)), -1).to(x.dtype) for f in (torch.cos, torch.sin))
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def attend(q, k, v, mask=None):
    scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + mask
    return torch.softmax(scores.float(), -1).to(q.dtype) @ v


def language(weights, x, cache=None, start=0):
    """Hidden states [batch, tokens, HIDDEN] to those before the head. A cache holds, for each layer, keys and values up to `start`."""
    batch, tokens, _ = x.shape
    positions = torch.arange(start, start + tokens)
    mask = None if tokens == 1 else torch.full((tokens, start + tokens), float("-inf"), dtype=x.dtype).triu(start + 1)
    for index, layer in enumerate(weights["layers"]):
        qkv = F.linear(rms_norm(x, layer["norm"]), layer["qkv"], layer["bias"])
        q, k, v = qkv.split([HEADS * HEAD, KEY_VALUE_HEADS * HEAD, KEY_VALUE_HEADS * HEAD], -1)
        q, k, v = (part.view(batch, tokens, -1, HEAD).transpose(1, 2) for part in (q, k, v))
        q, k = rotate(q, positions), rotate(k, positions)
        if cache is not None:
            keys, values = cache[index]
            keys[:, :, start:start + tokens], values[:, :, start:start + tokens] = k, v
            k, v = keys[:, :, :start + tokens], values[:, :, :start + tokens]
        # The query heads of a key-value head as rows of one product: nothing is repeated.
        group = HEADS // KEY_VALUE_HEADS
        q = q.reshape(batch, KEY_VALUE_HEADS, group * tokens, HEAD)
        mixed = attend(q, k, v, None if mask is None else mask.repeat(group, 1))
        mixed = mixed.view(batch, HEADS, tokens, HEAD).transpose(1, 2).reshape(batch, tokens, -1)
        x = x + F.linear(mixed, layer["out"])
        gate, up = F.linear(rms_norm(x, layer["norm2"]), layer["gate_up"]).chunk(2, -1)
        x = x + F.linear(F.silu(gate) * up, layer["down"])
    return rms_norm(x, weights["norm"])


def vision_weights():
    return {
        "patch": random(VISION, 3 * PATCH * PATCH), "class": random(1, 1, VISION), "positions": random(1, PATCHES + 1, VISION),
        "layers": [{
            "norm": (torch.ones(VISION).bfloat16(), torch.zeros(VISION).bfloat16()), "qkv": random(3 * VISION, VISION), "qkv_bias": torch.zeros(3 * VISION).bfloat16(),
            "out": random(VISION, VISION), "out_bias": torch.zeros(VISION).bfloat16(), "scale": torch.ones(VISION).bfloat16(),
            "norm2": (torch.ones(VISION).bfloat16(), torch.zeros(VISION).bfloat16()), "up": random(VISION_INTERMEDIATE, VISION),
            "up_bias": torch.zeros(VISION_INTERMEDIATE).bfloat16(), "down": random(VISION, VISION_INTERMEDIATE), "down_bias": torch.zeros(VISION).bfloat16(),
        } for _ in range(VISION_LAYERS)],
    }


def connector_weights():
    weights = [torch.ones(4 * VISION), torch.zeros(4 * VISION), random(HIDDEN, 4 * VISION).float(), torch.zeros(HIDDEN), random(HIDDEN, HIDDEN).float(), torch.zeros(HIDDEN)]
    return weights


def encode(weights, pixels):
    """[tiles, 3, 448, 448] to [tiles, 256, 4 · VISION]."""
    tiles = pixels.shape[0]
    patches = pixels.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).permute(0, 2, 3, 1, 4, 5).reshape(tiles, PATCHES, -1)
    x = torch.cat((weights["class"].expand(tiles, 1, -1), F.linear(patches, weights["patch"])), 1) + weights["positions"]
    for layer in weights["layers"]:
        q, k, v = F.linear(F.layer_norm(x, (VISION,), *layer["norm"], eps=1e-6), layer["qkv"], layer["qkv_bias"]).chunk(3, -1)
        q, k, v = (part.view(tiles, PATCHES + 1, VISION_HEADS, -1).transpose(1, 2) for part in (q, k, v))
        mixed = attend(q, k, v).transpose(1, 2).reshape(tiles, PATCHES + 1, VISION)
        x = x + F.linear(mixed, layer["out"], layer["out_bias"]) * layer["scale"]
        y = F.gelu(F.linear(F.layer_norm(x, (VISION,), *layer["norm2"], eps=1e-6), layer["up"], layer["up_bias"]))
        x = x + F.linear(y, layer["down"], layer["down_bias"]) * layer["scale"]
    side = math.isqrt(PATCHES)
    x = x[:, 1:].view(tiles, side, side // 2, 2 * VISION).permute(0, 2, 1, 3).reshape(tiles, side // 2, side // 2, 4 * VISION)
    return x.permute(0, 2, 1, 3).reshape(tiles, PATCHES // 4, 4 * VISION)


def connect(weights, features):
    x = F.layer_norm(features, (4 * VISION,), weights[0], weights[1], eps=1e-5)
    return F.linear(F.gelu(F.linear(x, weights[2], weights[3])), weights[4], weights[5])


def products():
    """Those of `Skylight.Bench dots`: bfloat16, and bytes with sums of 32 bits (without scales, which Skylight's q8 has)."""
    for m, n, k in [(1024, 1024, 1024), (2048, 2048, 2048), (512, 9728, 896), (512, 896, 4864), (512, 1152, 896), (1025, 4096, 1024), (16, 9728, 896), (8, 9728, 896), (1, 9728, 896), (1, 151674, 896)]:
        x, weight = random(m, k), random(n, k)
        measure(f"bfloat16 {m}×{n}×{k}", lambda: F.linear(x, weight), 2e-9 * m * n * k, "gflops", seconds=1.5)
        if m > 16:
            codes, other = (torch.randint(-127, 127, shape, dtype=torch.int8) for shape in ((m, k), (n, k)))
            measure(f"int8 {m}×{n}×{k}", lambda: torch._int_mm(codes, other.t()), 2e-9 * m * n * k, "gflops", seconds=1.5)


def model():
    weights = language_weights()
    tokens = torch.randint(0, 151000, (1, 512))

    def prefill(tokens, room, start=0, cache=None):
        cache = cache or [tuple(torch.empty(tokens.shape[0], KEY_VALUE_HEADS, room, HEAD).bfloat16() for _ in range(2)) for _ in range(LAYERS)]
        hidden = language(weights, F.embedding(tokens, weights["embedding"]), cache, start)
        return F.linear(hidden[:, -1], weights["head"]).float().argmax(-1), cache

    measure("prompt of 512 tokens", lambda: prefill(tokens, 512), 512, "tokens_per_second", seconds=6)
    for batch in (1, 8):
        many = tokens.expand(batch, -1)
        last, cache = prefill(many, 544)
        measure(f"decoding of {batch} after 512", lambda: prefill(last[:, None], 544, 520, cache), batch, "tokens_per_second")
    vision, connector = vision_weights(), [weight.bfloat16() for weight in connector_weights()]
    pixels, question = torch.rand(1, 3, 448, 448).bfloat16(), torch.randint(0, 151000, (1, 64))

    def picture():
        features = connect(connector, encode(vision, pixels))
        hidden = language(weights, torch.cat((features, F.embedding(question, weights["embedding"])), 1))
        return F.linear(hidden[:, -1], weights["head"]).float().argmax(-1)

    measure("picture of one tile and 64 tokens to the first token", picture, 1, "per_second", seconds=10)


def training():
    """A step of the connector alone, of a picture of one tile and 44 tokens a sample: the encoder without gradients, activations' gradients through the language model."""
    weights, vision = language_weights(), vision_weights()
    masters = [weight.requires_grad_() for weight in connector_weights()]
    optimizer = torch.optim.AdamW(masters, lr=1e-5, weight_decay=0.1)
    for batch in (1, 2, 4):
        pixels, text = torch.rand(batch, 3, 448, 448).bfloat16(), torch.randint(0, 151000, (batch, 44))

        def step():
            with torch.no_grad():
                encoded = encode(vision, pixels)
            features = connect([master.bfloat16() for master in masters], encoded)
            hidden = language(weights, torch.cat((features, F.embedding(text, weights["embedding"])), 1))
            logits = F.linear(hidden[:, 256:-1], weights["head"]).float()
            F.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten()).backward()
            torch.nn.utils.clip_grad_norm_(masters, 1.0)
            optimizer.step()
            optimizer.zero_grad()

        measure(f"training step of the connector, {batch} samples", step, batch * 300, "tokens_per_second", seconds=10)


def read_checkpoint(folder):
    """All tensors of a safetensors checkpoint in the original naming, mapped."""
    tensors = {}
    types = {"BF16": torch.bfloat16, "F32": torch.float32, "F16": torch.float16}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            data = numpy.memmap(os.path.join(folder, name), dtype=numpy.uint8, mode="c")
            length = int.from_bytes(data[:8].tobytes(), "little")
            for key, entry in json.loads(data[8:8 + length].tobytes()).items():
                if key != "__metadata__":
                    begin, end = entry["data_offsets"]
                    tensors[key] = torch.from_numpy(data[8 + length + begin:8 + length + end]).view(types[entry["dtype"]]).view(entry["shape"])
    return tensors


def accuracy(folder):
    """Log-probabilities of 384 tokens by the language model of a checkpoint of InternVL3-1B's shape, in float32 and in bfloat16."""
    tensors = read_checkpoint(folder)
    tokens = torch.tensor([[(index * 7919 + 31) % 151000 for index in range(384)]])
    found = {}
    for type_ in (torch.float32, torch.bfloat16):
        def of(name):
            return tensors["language_model." + name].to(type_)

        layers = []
        for index in range(LAYERS):
            layer = f"model.layers.{index}."
            layers.append({
                "norm": of(layer + "input_layernorm.weight"), "norm2": of(layer + "post_attention_layernorm.weight"),
                "qkv": torch.cat([of(f"{layer}self_attn.{part}_proj.weight") for part in "qkv"]),
                "bias": torch.cat([of(f"{layer}self_attn.{part}_proj.bias") for part in "qkv"]),
                "out": of(layer + "self_attn.o_proj.weight"), "down": of(layer + "mlp.down_proj.weight"),
                "gate_up": torch.cat([of(f"{layer}mlp.{part}_proj.weight") for part in ("gate", "up")]),
            })
        weights = {"layers": layers, "norm": of("model.norm.weight")}
        hidden = language(weights, F.embedding(tokens, of("model.embed_tokens.weight")))
        logits = F.linear(hidden, of("lm_head.weight")).float()
        found[str(type_).split(".")[1]] = torch.log_softmax(logits, -1)[0, :-1].gather(-1, tokens[0, 1:, None])[:, 0].tolist()
    return {"tokens": tokens[0].tolist(), **found, "model": "internvl3-1b's shape, random weights"}


def main():
    output, *parts = sys.argv[1:]
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA", "all that the processor has")
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    about = {"torch": torch.__version__, "onednn_isa": isa, "threads": THREADS, "cpu": cpu, "amx": "amx_tile" in open("/proc/cpuinfo").read(),
             "build": next((line.strip() for line in torch.__config__.show().splitlines() if "MKL-DNN" in line), ""), "measured_utc": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime())}
    print(about, flush=True)
    if parts and parts[0] == "accuracy":
        with torch.no_grad():
            about |= accuracy(parts[1])
    else:
        for part in parts or ["products", "model", "training"]:
            with torch.set_grad_enabled(part == "training"):
                {"products": products, "model": model, "training": training}[part]()
        about["rows"] = rows
    with open(output, "w") as file:
        json.dump(about, file, indent=1)
        file.write("\n")


main()
