"""C text that the kernels share: what a lane is on a CPU and on CUDA, its functions, and the layout of trajectories."""

from __future__ import annotations

__all__ = ["LANES", "PRELUDE", "RECORD", "TRAJECTORY"]

LANES = {"cpu": 16, "cuda": 32}  # environments per block; CUDA blocks are one warp, for coalesced access

PRELUDE = """
#if defined(__CUDA_ARCH__)
typedef float lane;
const int lanes = 1, width = CUDA_WIDTH, block = b / width, first_lane = b % width;
auto square_root = [](lane x) -> lane { return sqrtf(x); };
auto at = [](lane& x, int) -> float& { return x; };
#else
typedef float lane __attribute__((ext_vector_type(CPU_WIDTH)));
const int lanes = CPU_WIDTH, width = CPU_WIDTH, block = b, first_lane = 0;
auto square_root = [](lane x) -> lane { return __builtin_elementwise_sqrt(x); };
auto at = [](lane& x, int l) -> float& { return reinterpret_cast<float*>(&x)[l]; };
#endif
constexpr float rounder = 12582912.0f;  // adding and subtracting 1.5 * 2^23 rounds to an integer
auto nearest = [&](lane x) -> lane { return (x + rounder) - rounder; };
// x = k pi + r with |r| <= pi / 2, pi in three parts so that k pi is exact; then Taylor series in r
auto turns = [&](lane x) -> lane { return nearest(x * 0.318309886f); };
auto remainder = [](lane x, lane k) -> lane {
    return ((x - k * 3.140625f) - k * 9.67502593994140625e-4f) - k * 1.509957990978376432e-7f;
};
auto sign = [&](lane k) -> lane {
    const lane even = nearest(k * 0.5f - 0.25f);
    return (lane)(1.0f) - (k - even * 2.0f) * 2.0f;
};
auto sine = [&](lane x) -> lane {
    const lane k = turns(x), r = remainder(x, k), s = r * r;
    lane p = s * 1.60590438e-10f - 2.50521084e-8f;
    p = p * s + 2.75573192e-6f; p = p * s - 1.98412698e-4f; p = p * s + 8.33333333e-3f; p = p * s - 1.66666667e-1f;
    return sign(k) * (r + r * s * p);
};
auto cosine = [&](lane x) -> lane {
    const lane k = turns(x), r = remainder(x, k), s = r * r;
    lane p = s * 2.08767570e-9f - 2.75573192e-7f;
    p = p * s + 2.48015873e-5f; p = p * s - 1.38888889e-3f; p = p * s + 4.16666667e-2f; p = p * s - 0.5f;
    return sign(k) * (s * p + 1.0f);
};
// atan2 of two numbers >= 0: the smaller by the larger, turned back by pi / 8, then a polynomial
auto angle = [&](lane y, lane x) -> lane {
    const lane small = y < x ? y : x, large = y < x ? x : y;
    const lane whole = small / large, turned = (small - large) / (small + large);
    const lane t = whole < 0.414213562f ? whole : turned, s = t * t;
    lane p = s * -6.03324169e-2f + 1.05728145e-1f;
    p = p * s - 1.423998292e-1f; p = p * s + 1.999821080e-1f; p = p * s - 3.333330749e-1f;
    const lane part = t + t * s * p;
    const lane up = whole < 0.414213562f ? part : part + 0.785398163f;
    return y < x ? up : 1.570796327f - up;
};
const int first = block * width + first_lane;
auto load = [&](lane* to, const float* from, int size) {
    for (int l = 0; l < lanes; ++l) {
        const int env = first + l < num_envs ? first + l : num_envs - 1;
        for (int i = 0; i < size; ++i) at(to[i], l) = from[(size_t)env * size + i];
    }
};
auto store = [&](lane* from, float* to, int size) {
    for (int l = 0; l < lanes && first + l < num_envs; ++l)
        for (int i = 0; i < size; ++i) to[(size_t)(first + l) * size + i] = at(from[i], l);
};
""".replace("CPU_WIDTH", str(LANES["cpu"])).replace("CUDA_WIDTH", str(LANES["cuda"]))

TRAJECTORY = """
auto row = [&](int s) -> lane* {
    float* data = trajectory.data + (size_t)(block * ROWS + s) * (NQ + ND) * width;
    return (lane*)(data) + first_lane;
};
const int stride = width / lanes;
"""

RECORD = """{
        lane* to = row(s);
        for (int i = 0; i < NQ; ++i) to[i * stride] = q[i];
        for (int i = 0; i < ND; ++i) to[(NQ + i) * stride] = qd[i];
    }"""
