using Skylight.Cuda.Interop;
using Skylight.Execution;

namespace Skylight.Cuda;

/// <summary>
/// What runs for one node of a plan. The variants begin to compile when the kernel is made, and are loaded at its first
/// run, when argument blocks are laid out too; after that a run writes addresses into the blocks and queues, without
/// managed allocation.
/// </summary>
internal sealed class CudaKernel : Kernel
{
    private readonly CudaDevice _device;
    private readonly CudaKernelDescription _description;
    private PreparedLaunch?[]? _launches;

    public CudaKernel(CudaDevice device, CudaKernelDescription description)
    {
        _device = device;
        _description = description;
        foreach (KernelLaunch launch in description.Launches)
            device.Modules.Cache.Prepare(launch.Variant);
    }

    public override long ScratchBytes => _description.ScratchBytes;

    public override void Run(in KernelArguments arguments)
    {
        _device.MakeCurrent();
        PreparedLaunch?[] launches = _launches ??= Prepare();
        for (int index = 0; index < launches.Length; index++)
        {
            switch (_description.Steps[index])
            {
                case CudaLaunchStep:
                    Launch(launches[index]!, arguments);
                    break;
                case CudaClearStep clear:
                    _device.Clear(Address(clear.Operand, arguments), clear.Bytes);
                    break;
                case CudaCopyStep copy:
                    _device.Copy(Address(copy.Source, arguments), Address(copy.Destination, arguments), copy.Bytes);
                    break;
                case CudaProductStep product:
                    _device.Products.Multiply(product, Address(product.Left, arguments),
                        Address(product.Right, arguments), Address(product.Result, arguments));
                    break;
                case var step:
                    throw new InvalidOperationException($"{_description.OpName}: {step.GetType().Name} cannot be queued.");
            }
        }
    }

    private PreparedLaunch?[] Prepare()
    {
        var launches = new PreparedLaunch?[_description.Steps.Count];
        for (int index = 0; index < launches.Length; index++)
        {
            if (_description.Steps[index] is CudaLaunchStep step)
                launches[index] = new PreparedLaunch(_device, _description, step.Launch);
            else if (_description.Steps[index] is CudaProductStep)
                _device.Products.Prepare();
        }

        return launches;
    }

    private void Launch(PreparedLaunch launch, in KernelArguments arguments)
    {
        foreach ((int slot, CudaOperand operand) in launch.Pointers)
            launch.Set(slot, Address(operand, arguments));
        for (int index = 0; index < launch.Maps.Length; index++)
            launch.SetMap(index, _device.Driver, Address(launch.Maps[index].Operand, arguments));
        int result = launch.Queue(_device.Driver, _device.Stream);
        if (result != 0)
            throw _device.Driver.Error(result, $"The launch for {_description.OpName} of {launch.Launch}");
    }

    private ulong Address(CudaOperand operand, in KernelArguments arguments) =>
        (ulong)operand.ByteOffset + _device.AddressOf(operand.Kind switch
        {
            CudaOperandKind.Input => arguments.Inputs[operand.Index],
            CudaOperandKind.Output => arguments.Outputs[operand.Index],
            _ => arguments.Scratch
                ?? throw new InvalidOperationException($"{_description.OpName} was given no temporary memory."),
        });

    /// <summary>A launch with its kernel loaded and its parameters laid out at addresses that do not move.</summary>
    private sealed unsafe class PreparedLaunch
    {
        private readonly nint _function;
        private readonly long[] _values;
        private readonly nint[] _parameters;
        private readonly byte[] _maps;
        private readonly ulong[] _mapAddresses;

        public PreparedLaunch(CudaDevice device, CudaKernelDescription description, KernelLaunch launch)
        {
            Launch = launch;
            _function = device.Modules.Function(launch);
            int count = launch.Arguments.Sum(argument => argument.Kind == KernelArgumentKind.Status ? 2 : 1);
            _values = GC.AllocateArray<long>(count, pinned: true);
            _parameters = GC.AllocateArray<nint>(Math.Max(count, 1), pinned: true);
            var pointers = new List<(int, CudaOperand)>();
            var maps = new List<(int Slot, CudaOperand Operand, KernelTensorMap Map)>();
            int slot = 0;
            foreach (KernelArgument argument in launch.Arguments)
            {
                switch (argument.Kind)
                {
                    case KernelArgumentKind.Pointer:
                        pointers.Add((slot++, argument.Operand));
                        break;
                    case KernelArgumentKind.TensorMap:
                        maps.Add((slot++, argument.Operand, argument.TensorMap!));
                        break;
                    case KernelArgumentKind.Status:
                        _values[slot++] = (long)device.Status.Address;
                        _values[slot++] = device.Status.Tag(description.OpName,
                            description.StatusMessages[(int)argument.Bits]);
                        break;
                    case KernelArgumentKind.Counters:
                        _values[slot++] = (long)device.Counters.Address;
                        break;
                    default:
                        _values[slot++] = argument.Bits;
                        break;
                }
            }

            // A parameter shorter than 8 bytes is read from the beginning of its slot: the lower half, on all machines
            // that CUDA runs on.
            for (int index = 0; index < count; index++)
                _parameters[index] = (nint)System.Runtime.CompilerServices.Unsafe.AsPointer(ref _values[index]);
            Pointers = [.. pointers];
            Maps = [.. maps];
            _mapAddresses = new ulong[maps.Count];
            _maps = GC.AllocateArray<byte>(maps.Count == 0 ? 0
                : KernelTensorMap.EncodedBytes * maps.Count + KernelTensorMap.EncodedAlignment, pinned: true);
            for (int index = 0; index < maps.Count; index++)
                _parameters[maps[index].Slot] = (nint)EncodedMap(index);
        }

        public KernelLaunch Launch { get; }

        /// <summary>Which parameters are addresses that a run decides.</summary>
        public (int Slot, CudaOperand Operand)[] Pointers { get; }

        /// <summary>Which parameters are tensor maps, which hold such addresses.</summary>
        public (int Slot, CudaOperand Operand, KernelTensorMap Map)[] Maps { get; }

        public void Set(int slot, ulong address) => _values[slot] = (long)address;

        /// <summary>Encodes a tensor map where its operand has another address than at the last run.</summary>
        public void SetMap(int index, Driver driver, ulong address)
        {
            if (_mapAddresses[index] == address)
                return;
            _mapAddresses[index] = 0;
            Maps[index].Map.Encode(driver, address, EncodedMap(index));
            _mapAddresses[index] = address;
        }

        private byte* EncodedMap(int index)
        {
            nuint start = (nuint)System.Runtime.CompilerServices.Unsafe.AsPointer(ref _maps[0]);
            nuint aligned = start + KernelTensorMap.EncodedAlignment - start % KernelTensorMap.EncodedAlignment;
            return (byte*)aligned + index * KernelTensorMap.EncodedBytes;
        }

        public int Queue(Driver driver, CudaStreamHandle stream)
        {
            Dim3 grid = Launch.Grid, threads = Launch.Threads, cluster = Launch.ClusterSize;
            fixed (nint* parameters = _parameters)
            {
                if (cluster.Count == 1 && !Launch.IsProgrammatic)
                {
                    return driver.LaunchKernel(
                        _function,
                        (uint)grid.X,
                        (uint)grid.Y,
                        (uint)grid.Z,
                        (uint)threads.X,
                        (uint)threads.Y,
                        (uint)threads.Z,
                        (uint)Launch.SharedBytes,
                        stream.Value,
                        (void**)parameters,
                        null);
                }

                LaunchAttribute* attributes = stackalloc LaunchAttribute[2];
                uint count = 0;
                if (cluster.Count > 1)
                {
                    attributes[count++] = new LaunchAttribute
                    {
                        Id = CudaNumbers.LaunchClusterDimension,
                        X = (uint)cluster.X,
                        Y = (uint)cluster.Y,
                        Z = (uint)cluster.Z,
                    };
                }

                if (Launch.IsProgrammatic)
                    attributes[count++] = new LaunchAttribute { Id = CudaNumbers.LaunchProgrammatic, X = 1 };
                var configuration = new LaunchConfiguration
                {
                    GridX = (uint)grid.X,
                    GridY = (uint)grid.Y,
                    GridZ = (uint)grid.Z,
                    BlockX = (uint)threads.X,
                    BlockY = (uint)threads.Y,
                    BlockZ = (uint)threads.Z,
                    SharedBytes = (uint)Launch.SharedBytes,
                    Stream = stream.Value,
                    Attributes = attributes,
                    AttributeCount = count,
                };
                return driver.LaunchKernelEx(&configuration, _function, (void**)parameters, null);
            }
        }
    }
}
