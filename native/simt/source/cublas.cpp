// cuBLAS's C ABI: the general matrix product, as loops. Matrices are column-major; sums are float32 with k ascending.
#include <cstring>
#include <memory>
#include <vector>

#include "cuda_abi.hpp"
#include "driver.hpp"
#include "memory.hpp"
#include "products.hpp"

namespace simt {

namespace {

enum : int {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_NOT_INITIALIZED = 1,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_EXECUTION_FAILED = 13,
    CUBLAS_STATUS_NOT_SUPPORTED = 15,
};
enum : int { CUDA_R_32F = 0, CUDA_R_16BF = 14 };

struct Handle {
    void* stream = nullptr;
};

std::size_t element_bytes(int type) { return type == CUDA_R_32F ? 4 : 2; }

float load(const char* data, std::size_t index, int type) {
    if (type == CUDA_R_32F) {
        float value;
        std::memcpy(&value, data + 4 * index, sizeof value);
        return value;
    }
    std::uint16_t half;
    std::memcpy(&half, data + 2 * index, sizeof half);
    const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

void store(char* data, std::size_t index, int type, float value) {
    if (type == CUDA_R_32F) {
        std::memcpy(data + 4 * index, &value, sizeof value);
        return;
    }
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const bool nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
    const auto half = static_cast<std::uint16_t>(nan ? 0x7FFF : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    std::memcpy(data + 2 * index, &half, sizeof half);
}

struct Matrix {
    char* data;
    int type;
    int leading;
    long long stride;
};

struct Gemm {
    bool transpose_a, transpose_b;
    int m, n, k;
    float alpha, beta;
    Matrix a, b, c;
    int batch;
};

// Columns of op(b) times op(a): c is column-major, so a row of the row-major product of the loops below is a column of c.
void multiply(const Gemm& gemm, int index) {
    const char* a = gemm.a.data + static_cast<std::size_t>(index) * static_cast<std::size_t>(gemm.a.stride) * element_bytes(gemm.a.type);
    const char* b = gemm.b.data + static_cast<std::size_t>(index) * static_cast<std::size_t>(gemm.b.stride) * element_bytes(gemm.b.type);
    char* c = gemm.c.data + static_cast<std::size_t>(index) * static_cast<std::size_t>(gemm.c.stride) * element_bytes(gemm.c.type);
    const auto m = static_cast<std::size_t>(gemm.m), n = static_cast<std::size_t>(gemm.n), k = static_cast<std::size_t>(gemm.k);
    std::vector<float> left(n * k), right(k * m), sums(n * m, 0.0f);
    for (std::size_t column = 0; column < n; column++)
        for (std::size_t step = 0; step < k; step++) {
            const std::size_t at = gemm.transpose_b ? step * static_cast<std::size_t>(gemm.b.leading) + column : column * static_cast<std::size_t>(gemm.b.leading) + step;
            left[column * k + step] = load(b, at, gemm.b.type);
        }
    for (std::size_t step = 0; step < k; step++)
        for (std::size_t row = 0; row < m; row++) {
            const std::size_t at = gemm.transpose_a ? row * static_cast<std::size_t>(gemm.a.leading) + step : step * static_cast<std::size_t>(gemm.a.leading) + row;
            right[step * m + row] = load(a, at, gemm.a.type);
        }
    multiply_add(left.data(), gemm.k, right.data(), gemm.m, sums.data(), gemm.m, gemm.n, gemm.m, gemm.k);
    for (std::size_t column = 0; column < n; column++)
        for (std::size_t row = 0; row < m; row++) {
            const std::size_t at = column * static_cast<std::size_t>(gemm.c.leading) + row;
            float value = gemm.alpha * sums[column * m + row];
            if (gemm.beta != 0) value += gemm.beta * load(c, at, gemm.c.type);
            store(c, at, gemm.c.type, value);
        }
}

std::size_t extent(const Matrix& matrix, int rows, int columns, int batch) {
    if (rows == 0 || columns == 0) return 0;
    return (static_cast<std::size_t>(batch - 1) * static_cast<std::size_t>(matrix.stride) + static_cast<std::size_t>(columns - 1) * static_cast<std::size_t>(matrix.leading) +
            static_cast<std::size_t>(rows)) * element_bytes(matrix.type);
}

Result run_gemm(const Gemm& gemm) {
    const struct {
        const char* name;
        const Matrix& matrix;
        std::size_t bytes;
    } operands[] = {
        {"A", gemm.a, gemm.transpose_a ? extent(gemm.a, gemm.k, gemm.m, gemm.batch) : extent(gemm.a, gemm.m, gemm.k, gemm.batch)},
        {"B", gemm.b, gemm.transpose_b ? extent(gemm.b, gemm.n, gemm.k, gemm.batch) : extent(gemm.b, gemm.k, gemm.n, gemm.batch)},
        {"C", gemm.c, extent(gemm.c, gemm.m, gemm.n, gemm.batch)},
    };
    for (const auto& operand : operands)
        if (operand.bytes > 0 && !memory().covers(reinterpret_cast<std::uintptr_t>(operand.matrix.data), operand.bytes))
            return refuse(CUDA_ERROR_ILLEGAL_ADDRESS, std::string("cuBLAS: the ") + std::to_string(operand.bytes) + " bytes of matrix " + operand.name + " at " +
                                                          hexadecimal(operand.matrix.data) + " are not inside one allocation: " + memory().describe(operand.matrix.data));
    for (int index = 0; index < gemm.batch; index++) multiply(gemm, index);
    return CUDA_SUCCESS;
}

bool known_type(int type) { return type == CUDA_R_32F || type == CUDA_R_16BF; }

int gemm(void* handle, int transpose_a, int transpose_b, int m, int n, int k, const void* alpha, const Matrix& a, const Matrix& b, const void* beta,
         const Matrix& c, int batch, int compute) {
    const std::lock_guard<std::recursive_mutex> lock(context().lock);
    if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (m < 0 || n < 0 || k < 0 || batch < 1 || alpha == nullptr || beta == nullptr || transpose_a < 0 || transpose_a > 2 || transpose_b < 0 || transpose_b > 2)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (a.leading < std::max(1, transpose_a != 0 ? k : m) || b.leading < std::max(1, transpose_b != 0 ? n : k) || c.leading < std::max(1, m))
        return CUBLAS_STATUS_INVALID_VALUE;
    // float32 sums in one of its spellings: CUBLAS_COMPUTE_32F, _PEDANTIC, _FAST_16F, _FAST_16BF, _FAST_TF32.
    if (!known_type(a.type) || a.type != b.type || !known_type(c.type) || compute < 68 || compute > 77) return CUBLAS_STATUS_NOT_SUPPORTED;
    Stream* stream = context().stream(static_cast<Handle*>(handle)->stream);
    if (stream == nullptr) return CUBLAS_STATUS_EXECUTION_FAILED;
    if (m == 0 || n == 0) return CUBLAS_STATUS_SUCCESS;
    const Gemm work{transpose_a != 0, transpose_b != 0, m, n, k, *static_cast<const float*>(alpha), *static_cast<const float*>(beta), a, b, c, batch};
    return enqueue(*stream, [work]() -> Result { return run_gemm(work); }) == CUDA_SUCCESS ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

Matrix matrix(const void* data, int type, int leading, long long stride = 0) { return {static_cast<char*>(const_cast<void*>(data)), type, leading, stride}; }

}  // namespace

}  // namespace simt

using namespace simt;

SIMT_EXPORT int cublasCreate_v2(void** handle) {
    const std::lock_guard<std::recursive_mutex> lock(context().lock);
    if (handle == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
    if (!context().initialized || !context_is_current() || context().broken != 0) return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = new Handle();
    return CUBLAS_STATUS_SUCCESS;
}

SIMT_EXPORT int cublasDestroy_v2(void* handle) {
    if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
    delete static_cast<Handle*>(handle);
    return CUBLAS_STATUS_SUCCESS;
}

SIMT_EXPORT int cublasSetStream_v2(void* handle, void* stream) {
    if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
    static_cast<Handle*>(handle)->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

SIMT_EXPORT int cublasSetWorkspace_v2(void* handle, void*, std::size_t) { return handle == nullptr ? CUBLAS_STATUS_NOT_INITIALIZED : CUBLAS_STATUS_SUCCESS; }
SIMT_EXPORT int cublasSetMathMode(void* handle, int) { return handle == nullptr ? CUBLAS_STATUS_NOT_INITIALIZED : CUBLAS_STATUS_SUCCESS; }

SIMT_EXPORT int cublasGetVersion_v2(void*, int* version) {
    if (version == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
    *version = 120400;
    return CUBLAS_STATUS_SUCCESS;
}

SIMT_EXPORT int cublasGemmEx(void* handle, int transpose_a, int transpose_b, int m, int n, int k, const void* alpha, const void* a, int a_type, int a_leading,
                             const void* b, int b_type, int b_leading, const void* beta, void* c, int c_type, int c_leading, int compute, int) {
    return gemm(handle, transpose_a, transpose_b, m, n, k, alpha, matrix(a, a_type, a_leading), matrix(b, b_type, b_leading), beta, matrix(c, c_type, c_leading), 1,
                compute);
}

SIMT_EXPORT int cublasGemmStridedBatchedEx(void* handle, int transpose_a, int transpose_b, int m, int n, int k, const void* alpha, const void* a, int a_type,
                                           int a_leading, long long a_stride, const void* b, int b_type, int b_leading, long long b_stride, const void* beta, void* c,
                                           int c_type, int c_leading, long long c_stride, int batch, int compute, int) {
    return gemm(handle, transpose_a, transpose_b, m, n, k, alpha, matrix(a, a_type, a_leading, a_stride), matrix(b, b_type, b_leading, b_stride), beta,
                matrix(c, c_type, c_leading, c_stride), batch, compute);
}

SIMT_EXPORT const char* cublasGetStatusString(int status) {
    switch (status) {
        case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
        case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
        case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
        default: return "CUBLAS_STATUS unknown";
    }
}
