/* Printed decimals to the nearest double. What is written in an unusual way is left to the caller: 0 is returned. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

typedef unsigned char byte;

static const double TEN[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

#define MOST_GROUPS 4
/* Groups of columns whose fields are read by lanes. */

#define EXACT ((uint64_t)1 << 53)

static inline int is_digit(byte c) { return (byte)(c - '0') < 10; }

static inline int is_blank(byte c) { return c == ' ' || (c >= 9 && c <= 13); }

#if defined(__x86_64__)
/* m / 10^k for k up to 27 by a quotient of 64 bits, whose last 11 tell how to round; where they leave it open m is compared with the
   middle between two doubles in whole numbers. */
static inline int divided(uint64_t m, int k, double *out)
{
    static const long double LONG_TEN[] = {1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,  1e7L,  1e8L,  1e9L,  1e10L, 1e11L, 1e12L, 1e13L,
                                           1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L, 1e20L, 1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L};
    long double value = (long double)m / LONG_TEN[k];
    uint64_t bits, five = 1;
    memcpy(&bits, &value, 8);
    int last = (int)(bits & 0x7FF), exponent;
    if (last < 0x3FF || last > 0x401) {
        *out = (double)value;
        return 1;
    }
    frexpl(value, &exponent);
    for (int i = 0; i < k; i++)
        five *= 5;
    uint64_t below = bits >> 11;
    unsigned __int128 middle = (unsigned __int128)(2 * below + 1) * five, given = m;
    int shift = exponent - 54 + k;
    if (shift < -63 || shift > 0)
        return 0;
    given <<= -shift;
    uint64_t nearest = below + (given > middle || (given == middle && (below & 1)));
    *out = ldexp((double)nearest, exponent - 53);
    return 1;
}
#endif

/* m times ten to the power: exact where both are (Clinger 1990), or rounded once. */
static inline int scaled(uint64_t m, int power, double *out)
{
    if (m == 0) {
        *out = 0.0;
        return 1;
    }
    if (m <= EXACT && power >= -22 && power <= 22) {
        *out = power < 0 ? (double)m / TEN[-power] : (double)m * TEN[power];
        return 1;
    }
#if defined(__x86_64__)
    if (power >= -27 && power < 0)
        return divided(m, -power, out);
#endif
    return 0;
}

/* [+-]digits[.digits][e[+-]digits] from p to end, nothing around it. */
static inline int decimal(const byte *p, const byte *end, double *out)
{
    int negative = 0, digits = 0, power = 0;
    uint64_t m = 0;
    if (p < end && (*p == '-' || *p == '+'))
        negative = *p++ == '-';
    const byte *first = p;
    while (p < end && *p == '0')
        p++;
    int zeros = p > first;
    for (; p < end && is_digit(*p); p++, digits++)
        m = m * 10 + (*p - '0');
    int some = zeros || digits;
    if (p < end && *p == '.') {
        const byte *behind = ++p;
        if (!digits)
            while (p < end && *p == '0')
                p++;
        for (; p < end && is_digit(*p); p++, digits++)
            m = m * 10 + (*p - '0');
        power = -(int)(p - behind < 1000 ? p - behind : 1000);
        some |= p > behind;
    }
    if (!some || digits > 19)
        return 0;
    if (p < end && (*p == 'e' || *p == 'E')) {
        int minus = 0, exponent = 0;
        if (++p < end && (*p == '-' || *p == '+'))
            minus = *p++ == '-';
        const byte *start = p;
        for (; p < end && is_digit(*p) && p - start < 4; p++)
            exponent = exponent * 10 + (*p - '0');
        if (p == start)
            return 0;
        power += minus ? -exponent : exponent;
    }
    if (p != end || !scaled(m, power, out))
        return 0;
    if (negative)
        *out = -*out;
    return 1;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* Eight digits at once; 0 where one of them is none. */
static inline int eight_digits(const byte *p, uint64_t *out)
{
    uint64_t v;
    memcpy(&v, p, 8);
    if (((v & 0xF0F0F0F0F0F0F0F0u) | (((v + 0x0606060606060606u) & 0xF0F0F0F0F0F0F0F0u) >> 4)) != 0x3333333333333333u)
        return 0;
    v = ((v & 0x0F0F0F0F0F0F0F0Fu) * 2561) >> 8;
    v = ((v & 0x00FF00FF00FF00FFu) * 6553601) >> 16;
    *out = ((v & 0x0000FFFF0000FFFFu) * 42949672960001u) >> 32;
    return 1;
}
#endif

/* A field of Fw.d as Fortran fills it: blanks, a minus or none, digits, a point, d digits, and nothing behind them. */
static inline int fixed(const byte *p, long width, long places, double *out)
{
    long point = width - places - 1, i = 0;
    while (i < point && p[i] == ' ')
        i++;
    int negative = p[i] == '-';
    i += negative;
    if (i >= point || p[point] != '.' || point - i + places > 18)
        return 0;
    uint64_t m = 0;
    for (; i < point; i++) {
        if (!is_digit(p[i]))
            return 0;
        m = m * 10 + (p[i] - '0');
    }
    i = point + 1;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (places >= 8) {
        uint64_t eight;
        if (!eight_digits(p + i, &eight))
            return 0;
        m = m * 100000000u + eight;
        i += 8;
    }
#endif
    for (; i < width; i++) {
        if (!is_digit(p[i]))
            return 0;
        m = m * 10 + (p[i] - '0');
    }
    if (m > EXACT)
        return 0;
    double value = (double)m / TEN[places];
    *out = negative ? -value : value;
    return 1;
}

#if defined(__SSE4_1__)
#define WIDE 16

/* How the last 16 bytes of a field of Fw.d become digits: the point taken out, what lies left of the field made blank. */
struct lanes {
    __m128i order, blanks;
};

static struct lanes lanes_of(long width, long places)
{
    byte order[WIDE], blanks[WIDE];
    for (long i = 0; i < WIDE; i++) {
        long from = i < WIDE - places ? i - 1 : i;
        int inside = from >= 0 && from >= WIDE - width;
        order[i] = inside ? from : 0x80;
        blanks[i] = inside ? 0 : ' ';
    }
    return (struct lanes){_mm_loadu_si128((const __m128i *)order), _mm_loadu_si128((const __m128i *)blanks)};
}

/* `fixed` for a field of at most 16 bytes, of which the 16 bytes that end with it can be read: all its digits at once. */
static inline int fixed_lanes(const byte *p, long width, long places, const struct lanes *lanes, double *out)
{
    __m128i text = _mm_loadu_si128((const __m128i *)(p + width - WIDE));
    text = _mm_or_si128(_mm_shuffle_epi8(text, lanes->order), lanes->blanks);
    __m128i digits = _mm_sub_epi8(text, _mm_set1_epi8('0'));
    __m128i numeric = _mm_cmpeq_epi8(_mm_min_epu8(digits, _mm_set1_epi8(9)), digits);
    unsigned other = ~(unsigned)_mm_movemask_epi8(numeric) & 0xFFFF;
    unsigned blank = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8(' ')));
    unsigned minus = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8('-')));
    unsigned odd = other & ~blank, last = other & ~(other >> 1);
    /* What is no digit stands in front of all digits, the first of which is before the point; of it only the last may be a minus. */
    if ((other & (other + 1)) || (other >> (WIDE - 1 - places)) || p[width - places - 1] != '.' || (odd && (odd != last || odd != minus)))
        return 0;
    digits = _mm_and_si128(digits, numeric);
    digits = _mm_maddubs_epi16(digits, _mm_set1_epi16(1 << 8 | 10));
    digits = _mm_madd_epi16(digits, _mm_set1_epi32(1 << 16 | 100));
    digits = _mm_packus_epi32(digits, digits);
    digits = _mm_madd_epi16(digits, _mm_set1_epi32(1 << 16 | 10000));
    uint64_t halves = (uint64_t)_mm_cvtsi128_si64(digits);
    double value = (double)(int64_t)((halves & 0xFFFFFFFFu) * 100000000u + (halves >> 32)) / TEN[places];
    *out = odd ? -value : value;
    return 1;
}
#endif

/* Blocks of rows that all begin like the first one, in text from starts[n] to ends[n] (equal: no block, out is left alone).

   groups[n_groups][5] has for each group of equal columns: where the first begins, their width, decimals and number, and where the part
   of a row ends that may belong to the group. Rows begin with '<' (tagged) or end with a newline. Return 1 where every field is as Fortran
   fills it and apart from what stands around its group, so that no other way of cutting the row gives other numbers; else 0. */
long block_rows(const byte *text, const long *starts, const long *ends, long n, long rows, long stride, long tagged, long n_groups,
                const long *groups, double *out)
{
    long last = 0, count = 0;
#if defined(__SSE4_1__)
    struct lanes lanes[MOST_GROUPS];
#endif
    for (long g = 0; g < n_groups; g++) {
        const long *group = groups + 5 * g;
        long end = group[0] + group[1] * group[3];
        last = end > last ? end : last;
        count += group[3];
        if (group[2] > 18 || group[2] < 1 || group[1] - group[2] < 2 || group[0] < 0 || end > stride)
            return 0;
#if defined(__SSE4_1__)
        if (g < MOST_GROUPS)
            lanes[g] = lanes_of(group[1], group[2]);
#endif
    }
    for (long b = 0; b < n; b++) {
        long length = ends[b] - starts[b];
        if (length == 0)
            continue;
        if (length < (rows - 1) * stride + (tagged ? last : stride) || length > rows * stride)
            return 0;
        const byte *stop = text + ends[b], *row = text + starts[b];
        double *here = out + b * rows * count;
        for (long r = 0; r < rows; r++, row += stride) {
            if (tagged ? row[0] != '<' : row[stride - 1] != '\n')
                return 0;
            for (long g = 0; g < n_groups; g++) {
                const long *group = groups + 5 * g;
                const byte *field = row + group[0], *behind = field + group[1] * group[3];
                int full = field[0] != ' ' && field > row;
                if (full && is_digit(field[-1]))
                    return 0;
                if (behind < stop && behind < row + stride && behind < row + group[4] && !is_blank(*behind) && *behind != '<')
                    return 0;
#if defined(__SSE4_1__)
                if (g < MOST_GROUPS && group[1] <= WIDE && field + group[1] - text >= WIDE) {
                    for (long k = 0; k < group[3]; k++, field += group[1])
                        if (!fixed_lanes(field, group[1], group[2], lanes + g, here++))
                            return 0;
                    continue;
                }
#endif
                for (long k = 0; k < group[3]; k++, field += group[1])
                    if (!fixed(field, group[1], group[2], here++))
                        return 0;
            }
        }
    }
    return 1;
}

#define MOST_COLUMNS 6

/* The columns of the last count numbers in a part of a row that was written with one Fw.d, as `find_columns` of lake/readers/rows.py has
   them: a group of block_rows. 0 where it was not. */
static long columns_of(const byte *row, long from, long to, long count, long *group)
{
    long points[MOST_COLUMNS], found = 0, decimals = 0;
    for (long i = to - 1; i >= from && found < count; i--)
        if (row[i] == '.')
            points[count - 1 - found++] = i;
    if (found < count || count < 2)
        return 0;
    long width = points[1] - points[0];
    for (long k = 1; k < count; k++)
        if (points[k] - points[k - 1] != width)
            return 0;
    while (points[count - 1] + 1 + decimals < to && is_digit(row[points[count - 1] + 1 + decimals]))
        decimals++;
    group[0] = points[0] + decimals - width + 1;
    group[1] = width;
    group[2] = decimals;
    group[3] = count;
    group[4] = to;
    return decimals && group[0] >= from && decimals < width;
}

/* Fields of one width, blanks around the numbers; 0 where one of them is written in an unusual way. */
long equal_fields(const byte *text, long n, long width, double *out)
{
    for (long i = 0; i < n; i++, text += width) {
        const byte *p = text, *end = text + width;
        while (p < end && is_blank(*p))
            p++;
        while (p < end && is_blank(end[-1]))
            end--;
        if (!decimal(p, end, out + i))
            return 0;
    }
    return 1;
}

/* Lines of words apart by blanks, columns of them in each; text[columns] is 1 for those of text, of which the first 8 letters go into labels
   (zeros before), in order; numbers go into out[most][columns], 0 for text. Return how many rows there are, -1 where there are more than
   most, where a line has another number of words, or a number is written in an unusual way. */
long word_rows(const byte *p, long length, long most, long columns, const byte *text, byte *labels, double *out)
{
    const byte *end = p + length;
    long rows = 0;
    for (; p < end; rows++) {
        if (rows == most)
            return -1;
        for (long c = 0; c < columns; c++, out++) {
            while (p < end && *p <= 32 && *p != '\n')
                p++;
            const byte *first = p;
            while (p < end && *p > 32)
                p++;
            if (p == first)
                return -1;
            if (text[c]) {
                memcpy(labels, first, p - first < 8 ? p - first : 8);
                labels += 8;
                *out = 0.0;
            } else if (!decimal(first, p, out))
                return -1;
        }
        while (p < end && *p <= 32 && *p != '\n')
            p++;
        if (p == end || *p++ != '\n')
            return -1;
    }
    return rows;
}

/* Blocks of a buffer, from starts to ends, one after another into out. */
long gather(const byte *buffer, const long *starts, const long *ends, long n, byte *out)
{
    for (long i = 0; i < n; i++) {
        memcpy(out, buffer + starts[i], ends[i] - starts[i]);
        out += ends[i] - starts[i];
    }
    return n;
}
