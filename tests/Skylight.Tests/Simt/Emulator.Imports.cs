using System.Runtime.InteropServices;

namespace Skylight.Tests.Simt;

internal sealed unsafe partial class Emulator
{
    [LibraryImport(Library)]
    internal static partial int cuInit(uint flags);

    [LibraryImport(Library)]
    internal static partial int cuDevicePrimaryCtxRetain(out nint context, int device);

    [LibraryImport(Library)]
    internal static partial int cuCtxSetCurrent(nint context);

    [LibraryImport(Library)]
    internal static partial int cuCtxSynchronize();

    [LibraryImport(Library)]
    internal static partial int cuMemGetInfo_v2(out nuint free, out nuint total);

    [LibraryImport(Library)]
    internal static partial int cuMemAlloc_v2(out ulong address, nuint bytes);

    [LibraryImport(Library)]
    internal static partial int cuMemFree_v2(ulong address);

    [LibraryImport(Library)]
    internal static partial int cuMemHostAlloc(out nint host, nuint bytes, uint flags);

    [LibraryImport(Library)]
    internal static partial int cuMemFreeHost(nint host);

    [LibraryImport(Library)]
    internal static partial int cuMemAllocAsync(out ulong address, nuint bytes, nint stream);

    [LibraryImport(Library)]
    internal static partial int cuMemFreeAsync(ulong address, nint stream);

    [LibraryImport(Library)]
    internal static partial int cuMemcpyHtoDAsync_v2(ulong target, void* source, nuint bytes, nint stream);

    [LibraryImport(Library)]
    internal static partial int cuMemcpyDtoHAsync_v2(void* target, ulong source, nuint bytes, nint stream);

    [LibraryImport(Library)]
    internal static partial int cuMemsetD32Async(ulong target, uint value, nuint count, nint stream);

    [LibraryImport(Library)]
    internal static partial int cuStreamCreate(out nint stream, uint flags);

    [LibraryImport(Library)]
    internal static partial int cuStreamDestroy_v2(nint stream);

    [LibraryImport(Library)]
    internal static partial int cuStreamSynchronize(nint stream);

    [LibraryImport(Library)]
    internal static partial int cuStreamWaitEvent(nint stream, nint ev, uint flags);

    [LibraryImport(Library)]
    internal static partial int cuStreamBeginCapture_v2(nint stream, int mode);

    [LibraryImport(Library)]
    internal static partial int cuStreamEndCapture(nint stream, out nint graph);

    [LibraryImport(Library)]
    internal static partial int cuGraphInstantiateWithFlags(out nint executable, nint graph, ulong flags);

    [LibraryImport(Library)]
    internal static partial int cuGraphLaunch(nint executable, nint stream);

    [LibraryImport(Library)]
    internal static partial int cuGraphExecDestroy(nint executable);

    [LibraryImport(Library)]
    internal static partial int cuGraphDestroy(nint graph);

    [LibraryImport(Library)]
    internal static partial int cuEventCreate(out nint ev, uint flags);

    [LibraryImport(Library)]
    internal static partial int cuEventDestroy_v2(nint ev);

    [LibraryImport(Library)]
    internal static partial int cuEventRecord(nint ev, nint stream);

    [LibraryImport(Library)]
    internal static partial int cuEventSynchronize(nint ev);

    [LibraryImport(Library)]
    internal static partial int cuEventQuery(nint ev);

    [LibraryImport(Library)]
    internal static partial int cuModuleLoadData(out nint module, byte[] image);

    [LibraryImport(Library)]
    internal static partial int cuModuleUnload(nint module);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int cuModuleGetFunction(out nint function, nint module, string name);

    [LibraryImport(Library)]
    internal static partial int cuFuncSetAttribute(nint function, int attribute, int value);

    [LibraryImport(Library)]
    internal static partial int cuLaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint sharedBytes,
        nint stream, void** parameters, void** extra);

    [LibraryImport(Library)]
    internal static partial int cuLaunchKernelEx(LaunchConfiguration* configuration, nint function, void** parameters,
        void** extra);

    [LibraryImport(Library)]
    internal static partial int cuTensorMapEncodeTiled(
        void* map, int type, uint rank, ulong address, ulong* extents, ulong* strides, uint* box, uint* elementStrides,
        int interleave, int swizzle, int promotion, int fill);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int nvrtcCreateProgram(out nint program, string source, string name, int count,
        nint[] headers, nint[] names);

    [LibraryImport(Library)]
    internal static partial int nvrtcCompileProgram(nint program, int count, nint[] options);

    [LibraryImport(Library)]
    internal static partial int nvrtcDestroyProgram(ref nint program);

    [LibraryImport(Library)]
    internal static partial int nvrtcGetProgramLogSize(nint program, out nuint bytes);

    [LibraryImport(Library)]
    internal static partial int nvrtcGetProgramLog(nint program, byte[] log);

    [LibraryImport(Library)]
    internal static partial int nvrtcGetCUBINSize(nint program, out nuint bytes);

    [LibraryImport(Library)]
    internal static partial int nvrtcGetCUBIN(nint program, byte[] image);

    [LibraryImport(Library)]
    internal static partial int cublasCreate_v2(out nint handle);

    [LibraryImport(Library)]
    internal static partial int cublasDestroy_v2(nint handle);

    [LibraryImport(Library)]
    internal static partial int cublasSetStream_v2(nint handle, nint stream);

    [LibraryImport(Library)]
    internal static partial int cublasGemmEx(
        nint handle, int transposeA, int transposeB, int m, int n, int k, in float alpha, ulong a, int aType,
        int aLeading, ulong b, int bType, int bLeading,
        in float beta, ulong c, int cType, int cLeading, int compute, int algorithm);

    [LibraryImport(Library)]
    internal static partial nint simtLastReport();

    [LibraryImport(Library)]
    internal static partial int simtReset();

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int simtConfigure(string name, string value);

    [LibraryImport(Library)]
    internal static partial int simtCountersReset();

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int simtCountersRead(string? kernel, out EmulatorCounters counters);

    /// <summary>CUlaunchConfig of cuda.h.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct LaunchConfiguration
    {
        public uint GridX, GridY, GridZ, BlockX, BlockY, BlockZ, SharedBytes;
        public nint Stream;
        public LaunchAttribute* Attributes;
        public uint AttributeCount;
    }

    /// <summary>CUlaunchAttribute of cuda.h with cluster dimensions as its value.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 72)]
    internal struct LaunchAttribute
    {
        [FieldOffset(0)]
        public int Id;

        [FieldOffset(8)]
        public uint X;

        [FieldOffset(12)]
        public uint Y;

        [FieldOffset(16)]
        public uint Z;
    }
}
