"""Times PyTorch on the shapes of `Skylight.Bench kernels`, in the same way: L2 cleared before every run, CUDA events, medians.

Usage: python3 torch_baselines.py OUTPUT.json   (run by bench/gpu.sh where PyTorch with CUDA is found; Skylight itself needs no Python)
Arms: scaled_dot_product_attention with the flash and the cuDNN back end, forward and backward; torch.compile'd log-probability + entropy of a
linear head; torch.nn.functional.rms_norm after an addition; fused torch.optim.AdamW; matrix products.
"""
import json
import statistics
import sys

import torch
import torch._functorch.config
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

# name, hidden, heads, key-value heads, head dimension, intermediate, vocabulary: as ModelWorkloads.Models
MODELS = [
    ("internvl3-1b", 896, 14, 2, 64, 4864, 151674),
    ("internvl3-8b", 3584, 28, 4, 128, 18944, 151674),
    ("r1v3-38b", 5120, 40, 8, 128, 27648, 152064),
]
ROUNDS = 15
device = torch.device("cuda")
flush = torch.empty(256 << 20, dtype=torch.uint8, device=device)


def milliseconds(run):
    """The median time of `run` on the device, after warm-up, with a cold L2."""
    for _ in range(3):
        run()
    times = []
    for _ in range(ROUNDS):
        flush.zero_()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def random(*shape):
    return torch.randn(*shape, dtype=torch.bfloat16, device=device)


# A compiled backward pass is run again and again here: its buffers must not be given away.
if hasattr(torch._functorch.config, "donated_buffer"):
    torch._functorch.config.donated_buffer = False

rows = []


def measure(workload, arm, prepare):
    """Times what `prepare` returns; an arm that cannot run is recorded with its reason."""
    try:
        milliseconds_taken = milliseconds(prepare())
        rows.append({"workload": workload, "arm": arm, "ms": milliseconds_taken})
        print(f"{workload:52} {arm:28} {milliseconds_taken:9.3f} ms", flush=True)
    except Exception as exception:  # an arm that is not supported here is a result too
        rows.append({"workload": workload, "arm": arm, "error": str(exception).splitlines()[0] if str(exception) else type(exception).__name__})
        print(f"{workload:52} {arm:28} {rows[-1]['error']}", flush=True)
    torch.cuda.empty_cache()


def attention(tokens, heads, key_value_heads, dimension, backend, backward, sequences=1, causal=True):
    q, k, v = (random(sequences, count, tokens, dimension).requires_grad_(backward) for count in (heads, key_value_heads, key_value_heads))

    def forward():
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)

    if not backward:
        return forward
    out = forward()
    gradient = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True)


def head(tokens, hidden, vocabulary):
    x, weight = random(tokens, hidden), random(vocabulary, hidden)
    targets = torch.randint(0, vocabulary, (tokens,), device=device)

    @torch.compile
    def statistics_of(x, weight, targets):
        logits = (x @ weight.T).float()
        log_probabilities = torch.log_softmax(logits, -1)
        return log_probabilities.gather(-1, targets[:, None]), -(log_probabilities.exp() * log_probabilities).sum(-1)

    return lambda: statistics_of(x, weight, targets)


def add_rms_norm(tokens, hidden):
    x, residual, weight = random(tokens, hidden), random(tokens, hidden), random(hidden)

    @torch.compile
    def run(x, residual, weight):
        total = x + residual
        return total, F.rms_norm(total, (total.shape[-1],), weight, 1e-6)

    return lambda: run(x, residual, weight)


def rms_norm(rows_, columns, backward):
    x, weight, gradient = random(rows_, columns).requires_grad_(backward), random(columns).requires_grad_(backward), random(rows_, columns)
    run = torch.compile(lambda x, weight: F.rms_norm(x, (columns,), weight, 1e-6))
    if not backward:
        return lambda: run(x, weight)
    out = run(x, weight)
    return lambda: torch.autograd.grad(out, (x, weight), gradient, retain_graph=True)


def adamw(outputs, inputs):
    parameter = torch.nn.Parameter(torch.randn(outputs, inputs, device=device))
    parameter.grad = torch.randn_like(parameter)
    optimizer = torch.optim.AdamW([parameter], lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    return optimizer.step


def product(rows_, inputs, outputs):
    x, weight = random(rows_, inputs), random(outputs, inputs)
    return lambda: x @ weight.T


# The shapes of bench/Skylight.Workloads/KernelRecord.cs, first as there.
SDPA = (("sdpa flash", SDPBackend.FLASH_ATTENTION), ("sdpa cudnn", SDPBackend.CUDNN_ATTENTION))
with torch.no_grad():
    for at, tokens, causal in (("causal-4k", 4096, True), ("causal-16k", 16384, True), ("full-8k", 8192, False)):
        for arm, backend in SDPA:
            measure(f"attention/record-{at}", arm, lambda: attention(tokens, 64, 8, 128, backend, False, 2, causal))
    measure("matmul/record-8192", "torch", lambda: product(8192, 8192, 8192))
    measure("vocabulary_head/record", "torch.compile", lambda: head(2048, 4096, 262144))
    measure("rms_norm/record", "torch.compile", lambda: rms_norm(8192, 8192, False))
with torch.enable_grad():
    for tokens in (4096, 16384):
        for arm, backend in SDPA:
            measure(f"attention_backward/record-{tokens // 1024}k", arm, lambda: attention(tokens, 64, 8, 128, backend, True, 2))
    measure("rms_norm_backward/record", "torch.compile", lambda: rms_norm(16384, 4096, True))

with torch.no_grad():
    for name, hidden, heads, key_value_heads, dimension, intermediate, vocabulary in MODELS:
        for tokens in (4096, 16384):
            at = f"{name}-prefill-{tokens // 1024}k"
            for arm, backend in SDPA:
                measure(f"attention/{at}", arm, lambda: attention(tokens, heads, key_value_heads, dimension, backend, False))
            measure(f"add_rms_norm/{at}", "torch.compile", lambda: add_rms_norm(tokens, hidden))
            measure(f"matmul/{at}-gate-up", "torch", lambda: product(tokens, hidden, 2 * intermediate))
        for batch in (1, 8, 32):
            measure(f"matmul/{name}-decode-{batch}-gate-up", "torch", lambda: product(batch, hidden, 2 * intermediate))
        measure(f"vocabulary_head/{name}-training-8k", "torch.compile", lambda: head(8192, hidden, vocabulary))
        measure(f"adamw/{name}-training-8k-gate-up", "torch fused, float32", lambda: adamw(2 * intermediate, hidden))
with torch.enable_grad():
    for name, _, heads, key_value_heads, dimension, _, _ in MODELS:
        for arm, backend in SDPA:
            measure(f"attention_backward/{name}-training-8k", f"{arm}, one sequence", lambda: attention(8192, heads, key_value_heads, dimension, backend, True))

with open(sys.argv[1], "w") as file:
    json.dump({"torch": torch.__version__, "device": torch.cuda.get_device_name(), "rounds": ROUNDS, "rows": rows}, file, indent=1)
