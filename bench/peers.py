"""The runtimes beside us, each set up for the best time of one request.

What a peer's function returns runs the case once.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

import model as base


@dataclass(frozen=True)
class Case:
    """What is timed. `program`: transcribe, pretrain or finetune."""

    program: str
    batch: int
    seconds: float
    threads: int

    @property
    def name(self):
        return f"{self.program}-{self.batch}x{self.seconds:g}"


def openvino(case, work, source="onnx"):
    """OpenVINO's CPU plugin with the latency hint, shapes fixed, in fp32."""
    import openvino as ov

    core = ov.Core()
    wave = base.clips(case.batch, case.seconds).numpy()
    if source == "onnx":
        network = core.read_model(work / "ctc.onnx")
    else:
        network = ov.convert_model(base.load(work / "ctc", "ctc").eval(), example_input=torch.from_numpy(wave))
    network.reshape(list(wave.shape))
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": case.threads,
    }
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    return lambda: request.infer([wave], share_inputs=True, share_outputs=True)[0]


def openvino_torch(case, work):
    """The same from OpenVINO's own conversion of the PyTorch model."""
    return openvino(case, work, source="torch")


def onnxruntime(case, work):
    """ONNX Runtime's CPU provider, all optimizations, shapes fixed."""
    import onnxruntime as ort

    wave = base.clips(case.batch, case.seconds).numpy()
    options = ort.SessionOptions()
    options.intra_op_num_threads = case.threads
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.add_free_dimension_override_by_name("batch", wave.shape[0])
    options.add_free_dimension_override_by_name("samples", wave.shape[1])
    session = ort.InferenceSession(str(work / "ctc.onnx"), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"wave": wave})[0]


def torch_eager(case, work):
    """transformers' model, scaled_dot_product_attention, inference mode."""
    torch.set_num_threads(case.threads)
    network = base.load(work / "ctc", "ctc").eval()
    return _inference(network, base.clips(case.batch, case.seconds))


def torch_compile(case, work):
    """The same through torch.compile, weights frozen into the code."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    inductor.compile_threads = 1
    torch.set_num_threads(case.threads)
    network = torch.compile(base.load(work / "ctc", "ctc").eval())
    return _inference(network, base.clips(case.batch, case.seconds))


def _inference(network, wave):
    def run():
        # Frozen code needs no_grad; eager is as fast under it as in inference mode.
        with torch.no_grad():
            return network(wave).logits.numpy()

    return run


INFERENCE = {
    "openvino": openvino,
    "openvino-torch": openvino_torch,
    "onnxruntime": onnxruntime,
    "torch": torch_eager,
    "torch-compile": torch_compile,
}


def prepare(peer, case, work):
    """The function that runs `case` once, after two runs in which lazy preparations are made."""
    if case.program == "transcribe":
        run = INFERENCE[peer](case, work)
    else:
        import training

        run = training.step(case, work, compiled=peer == "torch-compile")
    for _ in range(2):
        run()
    return run


def timed(run):
    """Seconds of one run, after one that brings a process that was stopped back to speed."""
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_rss_mib():
    """The most memory that this process has held."""
    for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise OSError("the system does not tell VmHWM")
