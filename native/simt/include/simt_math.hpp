// The numeric functions that CUDA C++ has without a header.
#pragma once

extern "C" {
#define SIMT_UNARY(name) \
    float name##f(float) noexcept; \
    double name(double) noexcept;
SIMT_UNARY(exp) SIMT_UNARY(exp2) SIMT_UNARY(expm1) SIMT_UNARY(log) SIMT_UNARY(log2) SIMT_UNARY(log10) SIMT_UNARY(log1p) SIMT_UNARY(sqrt)
SIMT_UNARY(cbrt) SIMT_UNARY(sin) SIMT_UNARY(cos) SIMT_UNARY(tan) SIMT_UNARY(sinh) SIMT_UNARY(cosh) SIMT_UNARY(tanh) SIMT_UNARY(atan)
SIMT_UNARY(erf) SIMT_UNARY(erfc) SIMT_UNARY(floor) SIMT_UNARY(ceil) SIMT_UNARY(trunc) SIMT_UNARY(round) SIMT_UNARY(rint) SIMT_UNARY(nearbyint)
SIMT_UNARY(fabs) SIMT_UNARY(lgamma)
#undef SIMT_UNARY
#define SIMT_BINARY(name) \
    float name##f(float, float) noexcept; \
    double name(double, double) noexcept;
SIMT_BINARY(pow) SIMT_BINARY(fmod) SIMT_BINARY(fmax) SIMT_BINARY(fmin) SIMT_BINARY(copysign) SIMT_BINARY(atan2) SIMT_BINARY(hypot) SIMT_BINARY(fdim)
#undef SIMT_BINARY
float fmaf(float, float, float) noexcept;
double fma(double, double, double) noexcept;
float ldexpf(float, int) noexcept;
double ldexp(double, int) noexcept;
void sincosf(float, float*, float*) noexcept;
int abs(int) noexcept;
}

__forceinline__ float rsqrtf(float x) { return 1.0f / sqrtf(x); }
__forceinline__ double rsqrt(double x) { return 1.0 / sqrt(x); }
__forceinline__ bool isnan(float x) { return __builtin_isnan(x); }
__forceinline__ bool isnan(double x) { return __builtin_isnan(x); }
__forceinline__ bool isinf(float x) { return __builtin_isinf(x); }
__forceinline__ bool isinf(double x) { return __builtin_isinf(x); }
__forceinline__ bool isfinite(float x) { return __builtin_isfinite(x); }
__forceinline__ bool isfinite(double x) { return __builtin_isfinite(x); }

#define SIMT_MINIMUM_MAXIMUM(type) \
    __forceinline__ type min(type a, type b) { return b < a ? b : a; } \
    __forceinline__ type max(type a, type b) { return a < b ? b : a; }
SIMT_MINIMUM_MAXIMUM(int)
SIMT_MINIMUM_MAXIMUM(unsigned int)
SIMT_MINIMUM_MAXIMUM(long)
SIMT_MINIMUM_MAXIMUM(unsigned long)
SIMT_MINIMUM_MAXIMUM(long long)
SIMT_MINIMUM_MAXIMUM(unsigned long long)
#undef SIMT_MINIMUM_MAXIMUM
__forceinline__ unsigned int min(int a, unsigned int b) { return min((unsigned int)a, b); }
__forceinline__ unsigned int min(unsigned int a, int b) { return min(a, (unsigned int)b); }
__forceinline__ unsigned int max(int a, unsigned int b) { return max((unsigned int)a, b); }
__forceinline__ unsigned int max(unsigned int a, int b) { return max(a, (unsigned int)b); }
__forceinline__ float min(float a, float b) { return fminf(a, b); }
__forceinline__ float max(float a, float b) { return fmaxf(a, b); }
__forceinline__ double min(double a, double b) { return fmin(a, b); }
__forceinline__ double max(double a, double b) { return fmax(a, b); }

__forceinline__ float __expf(float x) { return expf(x); }
__forceinline__ float __logf(float x) { return logf(x); }
__forceinline__ float __log2f(float x) { return log2f(x); }
__forceinline__ float __powf(float x, float y) { return powf(x, y); }
__forceinline__ float __sinf(float x) { return sinf(x); }
__forceinline__ float __cosf(float x) { return cosf(x); }
__forceinline__ float __fdividef(float x, float y) { return x / y; }
__forceinline__ float __frcp_rn(float x) { return 1.0f / x; }
__forceinline__ float __fsqrt_rn(float x) { return sqrtf(x); }
__forceinline__ float __frsqrt_rn(float x) { return rsqrtf(x); }
__forceinline__ float __fadd_rn(float x, float y) { return x + y; }
__forceinline__ float __fsub_rn(float x, float y) { return x - y; }
__forceinline__ float __fmul_rn(float x, float y) { return x * y; }
__forceinline__ float __fdiv_rn(float x, float y) { return x / y; }
__forceinline__ float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
__forceinline__ float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

__forceinline__ unsigned int __float_as_uint(float x) { return simt::cast<unsigned int>(x); }
__forceinline__ int __float_as_int(float x) { return simt::cast<int>(x); }
__forceinline__ float __uint_as_float(unsigned int x) { return simt::cast<float>(x); }
__forceinline__ float __int_as_float(int x) { return simt::cast<float>(x); }
__forceinline__ long long __double_as_longlong(double x) { return simt::cast<long long>(x); }
__forceinline__ double __longlong_as_double(long long x) { return simt::cast<double>(x); }
__forceinline__ int __float2int_rn(float x) { return (int)rintf(x); }
__forceinline__ int __float2int_rd(float x) { return (int)floorf(x); }
__forceinline__ int __float2int_ru(float x) { return (int)ceilf(x); }
__forceinline__ int __float2int_rz(float x) { return (int)x; }
__forceinline__ float __int2float_rn(int x) { return (float)x; }
__forceinline__ float __uint2float_rn(unsigned int x) { return (float)x; }

__forceinline__ int __popc(unsigned int x) { return __builtin_popcount(x); }
__forceinline__ int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
__forceinline__ int __clz(int x) { return x == 0 ? 32 : __builtin_clz((unsigned int)x); }
__forceinline__ int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll((unsigned long long)x); }
__forceinline__ int __ffs(int x) { return __builtin_ffs(x); }
__forceinline__ int __ffsll(long long x) { return __builtin_ffsll(x); }
__forceinline__ unsigned int __brev(unsigned int x) {
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0F0F0F0Fu) | (x & 0x0F0F0F0Fu) << 4;
    return __builtin_bswap32(x);
}
__forceinline__ unsigned int __umulhi(unsigned int a, unsigned int b) { return (unsigned int)((unsigned long long)a * b >> 32); }
__forceinline__ int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
__forceinline__ unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
__forceinline__ unsigned int __funnelshift_l(unsigned int low, unsigned int high, unsigned int shift) {
    return (unsigned int)((((unsigned long long)high << 32 | low) << (shift & 31)) >> 32);
}
__forceinline__ unsigned int __funnelshift_r(unsigned int low, unsigned int high, unsigned int shift) {
    return (unsigned int)(((unsigned long long)high << 32 | low) >> (shift & 31));
}
__forceinline__ unsigned int __byte_perm(unsigned int low, unsigned int high, unsigned int selector) {
    const unsigned long long bytes = (unsigned long long)high << 32 | low;
    unsigned int result = 0;
    for (int index = 0; index < 4; index++) {
        const unsigned int choice = selector >> (4 * index) & 0xF;
        unsigned int byte = (unsigned int)(bytes >> (8 * (choice & 7))) & 0xFF;
        if (choice & 8) byte = byte & 0x80 ? 0xFF : 0;
        result |= byte << (8 * index);
    }
    return result;
}
