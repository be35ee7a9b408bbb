using System.Runtime.InteropServices;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Execution;

/// <summary>
/// A device with bfloat16 activations: every op is computed by its CPU kernel in float32 from bfloat16 inputs, and its
/// outputs are rounded. Slow, and what a device with bfloat16 kernels is meant to compute. Weights lie row-major.
/// </summary>
/// <param name="activationType">The type of activations.</param>
/// <param name="disturb">Plants an error: given an op, it may change the elements of its first output before they are
/// rounded.</param>
internal sealed class RoundingDevice(DataType activationType = DataType.BFloat16, Action<Op, float[]>? disturb = null)
    : Device
{
    private readonly CpuDevice _cpu = new();
    private readonly int _groupedInputBytes;

    /// <summary>Makes a device that takes small inputs together.</summary>
    public RoundingDevice(DataType activationType, int groupedInputBytes)
        : this(activationType) => _groupedInputBytes = groupedInputBytes;

    public override int GroupedInputBytes => _groupedInputBytes;

    public int Uploads { get; private set; }

    public override string Name => "rounding";

    public override long MemoryBytes => long.MaxValue;

    public override DataType ActivationType => activationType;

    public override bool HasKeysAsColumns => true;

    protected override DeviceMemory Reserve(long bytes) => new ByteMemory(bytes);

    public override long StorageBytes(TensorType type) => type.Bytes;

    public override void Upload(ReadOnlySpan<byte> rowMajor, Tensor destination)
    {
        Uploads++;
        rowMajor.CopyTo(Bytes(destination));
    }

    public override void Download(Tensor source, Span<byte> rowMajor) => Bytes(source).CopyTo(rowMajor);

    public override void Copy(Tensor source, Tensor destination) => Bytes(source).CopyTo(Bytes(destination));

    public override void Clear(Tensor tensor) => Bytes(tensor).Clear();

    public override Kernel CreateKernel(Node node)
    {
        foreach (Value value in node.Outputs.Concat(node.Inputs.Where(input => input.Kind == ValueKind.Computed)))
        {
            if (value.Type.DataType == DataType.BFloat16 && activationType != DataType.BFloat16)
                throw new NotSupportedException($"{node.Op.Name}: {value}");
        }

        return new CpuKernel(node, _cpu, disturb);
    }

    public override void Synchronize()
    {
    }

    protected override void Dispose(bool disposing) => _cpu.Dispose();

    private static Span<byte> Bytes(Tensor tensor) =>
        ((ByteMemory)tensor.Memory).Data.AsSpan(checked((int)tensor.ByteOffset), checked((int)tensor.Type.Bytes));

    private sealed class ByteMemory(long bytes) : DeviceMemory
    {
        public byte[] Data { get; } = new byte[bytes];

        public override long Bytes => Data.Length;

        protected override void Dispose(bool disposing)
        {
        }
    }

    private sealed class CpuKernel : Kernel
    {
        private readonly Node _node;
        private readonly CpuDevice _cpu;
        private readonly Op[] _stages;
        private readonly TensorType[] _inputs;
        private readonly TensorType[] _outputs;

        private readonly Action<Op, float[]>? _disturb;

        public CpuKernel(Node node, CpuDevice cpu, Action<Op, float[]>? disturb)
        {
            _node = node;
            _disturb = disturb;
            _cpu = cpu;
            // What an op rounds within itself is an output on the way here.
            _stages = node.Op is MatMulActivation product
                ? [new MatMul(), product.Activation == ProductActivation.Gelu ? new Gelu() : new SwiGlu()] : [node.Op];
            _inputs = [.. node.InputTypes.Select(OnCpu)];
            _outputs = [.. node.OutputTypes.Select(OnCpu)];
        }

        public override void Run(in KernelArguments arguments)
        {
            Tensor[] inputs = [.. arguments.Inputs.Select((tensor, index) => Widened(tensor, _inputs[index]))];
            Tensor[] outputs = Run(_stages[0], inputs);
            foreach (Op stage in _stages.Skip(1))
            {
                Tensor[] rounded = [.. outputs.Select(Rounded)];
                outputs = Run(stage, rounded);
                foreach (Tensor tensor in rounded)
                    tensor.Memory.Dispose();
            }

            if (_disturb is not null && outputs is [{ Type.DataType: DataType.Float32 } first, ..])
                Disturb(first);
            for (int index = 0; index < outputs.Length; index++)
                Round(outputs[index], arguments.Outputs[index]);
            foreach (int index in _node.Op.MutatedInputs)
                Round(inputs[index], arguments.Inputs[index]);
            foreach (Tensor tensor in inputs.Concat(outputs))
                tensor.Memory.Dispose();
        }

        private Tensor[] Run(Op op, Tensor[] inputs)
        {
            TensorType[] types = [.. inputs.Select(input => input.Type)];
            Tensor[] outputs = [.. (op == _node.Op ? _outputs : op.Infer(types)).Select(_cpu.AllocateTensor)];
            long scratchBytes = ((ICpuKernel)op).ScratchBytes(types);
            Tensor? scratch = scratchBytes > 0
                ? _cpu.AllocateTensor(TensorType.Float32(checked((int)((scratchBytes + 3) / 4)))) : null;
            ((ICpuKernel)op).Run(new CpuArguments(new KernelArguments(inputs, outputs, scratch)));
            scratch?.Memory.Dispose();
            return outputs;
        }

        /// <summary>Rounds a tensor of float32, which is given back, and widens it again.</summary>
        private Tensor Rounded(Tensor source)
        {
            var half = new Tensor(new ByteMemory(source.Type.Shape.ElementCount * 2), 0,
                source.Type with { DataType = DataType.BFloat16 });
            Round(source, half);
            source.Memory.Dispose();
            return Widened(half, source.Type);
        }

        /// <summary>Weights and what AdamW reads are bfloat16 on the CPU too.</summary>
        private TensorType OnCpu(TensorType type) =>
            type.DataType == DataType.BFloat16 && type.Storage == Storage.RowMajor && _node.Op is not AdamW
                ? type with { DataType = DataType.Float32 } : type;

        private Tensor Widened(Tensor source, TensorType type)
        {
            Tensor target = _cpu.AllocateTensor(type);
            Span<byte> bytes = Bytes(source);
            if (source.Type.DataType == type.DataType)
                _cpu.Upload(bytes, target);
            else
                _cpu.Upload(
                    MemoryMarshal.AsBytes<float>(Array.ConvertAll(MemoryMarshal.Cast<byte, BFloat16>(bytes).ToArray(),
                        value => (float)value)), target);
            return target;
        }

        private void Disturb(Tensor output)
        {
            var values = new float[output.Shape.ElementCount];
            _cpu.Download(output, MemoryMarshal.AsBytes(values.AsSpan()));
            _disturb!(_node.Op, values);
            _cpu.Upload(MemoryMarshal.AsBytes<float>(values), output);
        }

        private void Round(Tensor source, Tensor target)
        {
            if (source.Type.DataType == target.Type.DataType)
            {
                _cpu.Download(source, Bytes(target));
                return;
            }

            var values = new float[source.Shape.ElementCount];
            _cpu.Download(source, MemoryMarshal.AsBytes(values.AsSpan()));
            MemoryMarshal.AsBytes<BFloat16>(Array.ConvertAll(values, value => (BFloat16)value)).CopyTo(Bytes(target));
        }
    }
}
