/* Moments of the neighbours of each atom and their invariants, with the derivatives that training needs: what kernel.py calls.
 *
 * Compiled once for each shape; the lines before this file define
 *   REAL      float or double
 *   LANES     neighbours, or atoms, that are worked on at once
 *   RADIAL    radial functions, k
 *   SPECIES   numbers by which a neighbour's element enters, a
 *   TERMS     monomials x^a y^b z^c with c < 2, m; as many harmonics, h
 *   PARENT, AXIS         each monomial as a lower one times a coordinate (from the second on)
 *   SLOPES, SLOPE[][4]   {monomial, coordinate, lower monomial, factor}: the derivatives that are not zero
 *   HARMONICS[TERMS][TERMS]  coefficients of harmonics (columns) in monomials (rows), HARMONICS_T its transpose
 *   CHANNELS, DEGREES    of the moments that invariants are made of
 *   CUBICS, CUBIC[][4], FACTOR[]  {triple, h1, h2, h3} and factor of the products of three moments; TRIPLES
 *
 * UNROLLED loops read these tables, which so become part of the code; ROLLED ones would make it large for nothing.
 *
 * With u = r/|r|, the sum of an atom is B[h][k,a] = sum over neighbours of R_k(|r|) w_a Y_h(u).
 * vectors is (edges, 3) and weights (edges, SPECIES); start (atoms + 1) holds the first edge of each atom.
 */
#include <math.h>
#include <string.h>

#define MIXED (RADIAL * SPECIES)
#define ROW ((TERMS + LANES - 1) / LANES)
#define EACH_LANE for (int l = 0; l < LANES; l++)
#define UNROLLED _Pragma("GCC unroll 256")
#define ROLLED _Pragma("GCC unroll 1")

typedef REAL lanes __attribute__((vector_size(LANES * sizeof(REAL))));

typedef struct {
    lanes unit[3], inverse, weight[SPECIES];
    lanes radial[RADIAL], slope[RADIAL];
    lanes term[TERMS];
} Block;

/* sin(pi x) and cos(pi x) for 0 <= x <= 1: Taylor series around 1/2, to 1e-17. */
static inline void sine(lanes x, lanes *s, lanes *c)
{
    const lanes one = (lanes){0} + 1, z = (REAL)M_PI * ((REAL)0.5 - x), q = z * z;
    lanes even = one, odd = one;
    for (int n = (sizeof(REAL) == 8 ? 11 : 7); n > 0; n--) {
        even = 1 - q * (1 / (REAL)((2 * n - 1) * (2 * n))) * even;
        odd = 1 - q * (1 / (REAL)((2 * n) * (2 * n + 1))) * odd;
    }
    *s = even;
    *c = z * odd;
}

/* The count neighbours at vectors, but for their weights; lanes that are left are at the cutoff, where all is zero. */
static inline void place(Block *b, const REAL *vectors, int count, REAL cutoff)
{
    lanes x, s, c, inside, d[3];
    for (int l = 0; l < count; l++)
        for (int i = 0; i < 3; i++) d[i][l] = vectors[3 * l + i];
    for (int l = count; l < LANES; l++)
        for (int i = 0; i < 3; i++) d[i][l] = i ? 0 : cutoff;
    const lanes square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
    EACH_LANE b->inverse[l] = 1 / (REAL)sqrt(square[l]);
    for (int i = 0; i < 3; i++) b->unit[i] = d[i] * b->inverse;
    const lanes share = square * b->inverse / cutoff;
    EACH_LANE {
        x[l] = share[l] < 1 ? share[l] : 1;
        inside[l] = share[l] < 1 ? 1 : 0;
    }
    sine(x, &s, &c);
    const REAL norm = (REAL)sqrt(2.0 / cutoff);
    const lanes left = 1 - x, f = inside * (1 + x * x * x * (-10 + x * (15 - 6 * x))), df = -30 / cutoff * x * x * left * left;
    const lanes envelope = norm * f * b->inverse, fall = norm * b->inverse * (df - f * b->inverse);
    /* sin((k+1)t) = 2 cos(t) sin(kt) - sin((k-1)t), cosines alike */
    lanes below = {0}, below_c = (lanes){0} + 1, sk = s, ck = c;
    for (int k = 0; k < RADIAL; k++) {
        b->radial[k] = envelope * sk;
        b->slope[k] = fall * sk + envelope * ((REAL)M_PI * (k + 1) / cutoff) * ck;
        const lanes next = 2 * c * sk - below, next_c = 2 * c * ck - below_c;
        below = sk;
        below_c = ck;
        sk = next;
        ck = next_c;
    }
    b->term[0] = (lanes){0} + 1;
    UNROLLED for (int m = 1; m < TERMS; m++) b->term[m] = b->term[PARENT[m]] * b->unit[AXIS[m]];
}

/* Neighbours first to first + count of an atom. */
static void fill(Block *b, const REAL *vectors, const REAL *weights, long first, int count, REAL cutoff)
{
    place(b, vectors + 3 * first, count, cutoff);
    for (int a = 0; a < SPECIES; a++)
        EACH_LANE b->weight[a][l] = l < count ? weights[SPECIES * (first + l) + a] : 0;
}

/* One neighbour's monomials in a row, so that products with them are sums over neighbours without a sum over lanes. */
static inline void turn_over(const lanes *terms, lanes rows[LANES][ROW])
{
    REAL *flat = (REAL *)rows;
    for (int m = 0; m < TERMS; m++)
        for (int l = 0; l < LANES; l++) flat[l * ROW * LANES + m] = terms[m][l];
}

/* sum[q] += sum over lanes of parts[q] times rows, for q below number */
static inline void add_products(const lanes *parts, lanes rows[LANES][ROW], lanes sum[][ROW], const int number)
{
    for (int l = 0; l < LANES; l++)
        for (int q = 0; q < number; q++)
            for (int i = 0; i < ROW; i++) sum[q][i] += parts[q][l] * rows[l][i];
}

/* How fast the distance changes along change (count, 3), and how fast each monomial does. */
static void turn(const Block *b, const REAL *change, int count, lanes *along, lanes *turned)
{
    lanes d[3] = {{0}};
    for (int l = 0; l < count; l++)
        for (int i = 0; i < 3; i++) d[i][l] = change[3 * l + i];
    *along = d[0] * b->unit[0] + d[1] * b->unit[1] + d[2] * b->unit[2];
    for (int i = 0; i < 3; i++) d[i] = (d[i] - *along * b->unit[i]) * b->inverse;
    for (int m = 0; m < TERMS; m++) turned[m] = (lanes){0};
    UNROLLED for (int t = 0; t < SLOPES; t++) turned[SLOPE[t][0]] += (REAL)SLOPE[t][3] * b->term[SLOPE[t][2]] * d[SLOPE[t][1]];
}

/* From sums over monomials to harmonics, out [TERMS][MIXED]. */
static void to_harmonics(lanes sum[MIXED][ROW], REAL *out)
{
    for (int q = 0; q < MIXED; q++) {
        const REAL *own = (const REAL *)sum[q];
        REAL row[TERMS];
        memset(row, 0, sizeof row);
        for (int m = 0; m < TERMS; m++)
            for (int h = 0; h < TERMS; h++) row[h] += own[m] * HARMONICS[m][h];
        for (int h = 0; h < TERMS; h++) out[h * MIXED + q] = row[h];
    }
}

/* The transpose of it: from derivatives by harmonics [TERMS][MIXED] to derivatives by monomials [MIXED][TERMS]. */
static void from_harmonics(const REAL *given, REAL out[MIXED][TERMS])
{
    for (int q = 0; q < MIXED; q++)
        for (int m = 0; m < TERMS; m++) out[q][m] = 0;
    for (int h = 0; h < TERMS; h++)
        for (int q = 0; q < MIXED; q++) {
            const REAL value = given[h * MIXED + q];
            for (int m = 0; m < TERMS; m++) out[q][m] += value * HARMONICS_T[h][m];
        }
}

/* B (atoms, TERMS, MIXED). */
void sums(long atoms, const long *start, const REAL *vectors, const REAL *weights, REAL cutoff, REAL *out)
{
    Block b;
    lanes sum[MIXED][ROW], rows[LANES][ROW] = {{{0}}}, parts[MIXED];
    for (long n = 0; n < atoms; n++) {
        memset(sum, 0, sizeof sum);
        for (long first = start[n]; first < start[n + 1]; first += LANES) {
            const long left = start[n + 1] - first;
            fill(&b, vectors, weights, first, left < LANES ? (int)left : LANES, cutoff);
            for (int q = 0; q < MIXED; q++) parts[q] = b.radial[q / SPECIES] * b.weight[q % SPECIES];
            turn_over(b.term, rows);
            add_products(parts, rows, sum, MIXED);
        }
        to_harmonics(sum, out + n * TERMS * MIXED);
    }
}

/* The part of B's change that a change of the vectors makes: out (atoms, TERMS, MIXED) from change (edges, 3). */
void push(long atoms, const long *start, const REAL *vectors, const REAL *weights, REAL cutoff, const REAL *change, REAL *out)
{
    Block b;
    lanes sum[MIXED][ROW], rows[LANES][ROW] = {{{0}}}, parts[MIXED];
    for (long n = 0; n < atoms; n++) {
        memset(sum, 0, sizeof sum);
        for (long first = start[n]; first < start[n + 1]; first += LANES) {
            const long left = start[n + 1] - first;
            const int count = left < LANES ? (int)left : LANES;
            fill(&b, vectors, weights, first, count, cutoff);
            lanes along, turned[TERMS];
            turn(&b, change + 3 * first, count, &along, turned);
            for (int q = 0; q < MIXED; q++) parts[q] = b.radial[q / SPECIES] * b.weight[q % SPECIES];
            turn_over(turned, rows);
            add_products(parts, rows, sum, MIXED);
            for (int q = 0; q < MIXED; q++) parts[q] = b.slope[q / SPECIES] * along * b.weight[q % SPECIES];
            turn_over(b.term, rows);
            add_products(parts, rows, sum, MIXED);
        }
        to_harmonics(sum, out + n * TERMS * MIXED);
    }
}

/* Derivatives by vectors (edges, 3) and weights (edges, SPECIES), where these are asked for, from derivatives by B, given (as B). */
void pull(long atoms, const long *start, const REAL *vectors, const REAL *weights, REAL cutoff, const REAL *given, REAL *by_vector,
          REAL *by_weight)
{
    Block b;
    REAL slopes[MIXED][TERMS];
    for (long n = 0; n < atoms; n++) {
        from_harmonics(given + n * TERMS * MIXED, slopes);
        for (long first = start[n]; first < start[n + 1]; first += LANES) {
            const long left = start[n + 1] - first;
            const int count = left < LANES ? (int)left : LANES;
            fill(&b, vectors, weights, first, count, cutoff);
            lanes far = {0}, round[TERMS], force[3] = {{0}};
            for (int m = 0; m < TERMS; m++) round[m] = (lanes){0};
            for (int a = 0; a < SPECIES; a++) {
                lanes own = {0};
                for (int m = 0; m < TERMS; m++) {
                    lanes plain = {0}, steep = {0};
                    for (int k = 0; k < RADIAL; k++) {
                        plain += slopes[k * SPECIES + a][m] * b.radial[k];
                        steep += slopes[k * SPECIES + a][m] * b.slope[k];
                    }
                    round[m] += b.weight[a] * plain;
                    far += b.weight[a] * steep * b.term[m];
                    own += plain * b.term[m];
                }
                if (by_weight)
                    for (int l = 0; l < count; l++) by_weight[SPECIES * (first + l) + a] = own[l];
            }
            UNROLLED for (int t = 0; t < SLOPES; t++) force[SLOPE[t][1]] += (REAL)SLOPE[t][3] * round[SLOPE[t][0]] * b.term[SLOPE[t][2]];
            const lanes inward = force[0] * b.unit[0] + force[1] * b.unit[1] + force[2] * b.unit[2];
            for (int i = 0; i < 3; i++) force[i] = (force[i] - inward * b.unit[i]) * b.inverse + far * b.unit[i];
            for (int l = 0; by_vector && l < count; l++)
                for (int i = 0; i < 3; i++) by_vector[3 * (first + l) + i] = force[i][l];
        }
    }
}

/* The derivatives by weights (edges, SPECIES) of the sum of change (edges, 3) times pull's by_vector. */
void push_weights(long atoms, const long *start, const REAL *vectors, const REAL *weights, REAL cutoff, const REAL *given,
                  const REAL *change, REAL *by_weight)
{
    Block b;
    REAL slopes[MIXED][TERMS];
    for (long n = 0; n < atoms; n++) {
        from_harmonics(given + n * TERMS * MIXED, slopes);
        for (long first = start[n]; first < start[n + 1]; first += LANES) {
            const long left = start[n + 1] - first;
            const int count = left < LANES ? (int)left : LANES;
            fill(&b, vectors, weights, first, count, cutoff);
            lanes along, turned[TERMS];
            turn(&b, change + 3 * first, count, &along, turned);
            for (int a = 0; a < SPECIES; a++) {
                lanes own = {0};
                for (int m = 0; m < TERMS; m++)
                    for (int k = 0; k < RADIAL; k++)
                        own += slopes[k * SPECIES + a][m] * (b.slope[k] * along * b.term[m] + b.radial[k] * turned[m]);
                for (int l = 0; l < count; l++) by_weight[SPECIES * (first + l) + a] = own[l];
            }
        }
    }
}

#define PAIRS (CHANNELS * (CHANNELS + 1) / 2)
#define SIZE (CHANNELS + DEGREES * PAIRS + TRIPLES * CHANNELS)
#define MOMENTS (TERMS * CHANNELS)

/* Rows of count atoms, length numbers each, to lanes and back. */
static inline void spread(const REAL *rows, int count, int length, lanes *out)
{
    REAL *flat = (REAL *)out;
    for (int l = 0; l < LANES; l++)
        for (int i = 0; i < length; i++) flat[i * LANES + l] = l < count ? rows[(long)l * length + i] : 0;
}

static inline void gather(const lanes *in, int count, int length, REAL *rows)
{
    const REAL *flat = (const REAL *)in;
    for (int l = 0; l < count; l++)
        for (int i = 0; i < length; i++) rows[(long)l * length + i] = flat[i * LANES + l];
}

/* Invariants d (SIZE) of moments a (TERMS, CHANNELS): the first moment; sums over each degree of products of two, divided by the root of
 * their number; products of three with one channel. */
static inline void products(const lanes *a, lanes *d)
{
    for (int c = 0; c < CHANNELS; c++) *d++ = a[c];
    for (int degree = 1; degree <= DEGREES; degree++) {
        const REAL norm = 1 / (REAL)sqrt(2 * degree + 1);
        for (int i = 0; i < CHANNELS; i++)
            for (int j = i; j < CHANNELS; j++) {
                lanes sum = {0};
                for (int h = degree * degree; h < (degree + 1) * (degree + 1); h++) sum += a[h * CHANNELS + i] * a[h * CHANNELS + j];
                *d++ = norm * sum;
            }
    }
    for (int i = 0; i < TRIPLES * CHANNELS; i++) d[i] = (lanes){0};
    for (int t = 0; t < CUBICS; t++)
        for (int c = 0; c < CHANNELS; c++)
            d[c * TRIPLES + CUBIC[t][0]] +=
                FACTOR[t] * a[CUBIC[t][1] * CHANNELS + c] * a[CUBIC[t][2] * CHANNELS + c] * a[CUBIC[t][3] * CHANNELS + c];
}

/* Invariants (atoms, SIZE) of moments (atoms, TERMS, CHANNELS). */
void invariants(long atoms, const REAL *moments, REAL *out)
{
    lanes a[MOMENTS], d[SIZE];
    for (long n = 0; n < atoms; n += LANES) {
        const int count = atoms - n < LANES ? (int)(atoms - n) : LANES;
        spread(moments + n * MOMENTS, count, MOMENTS, a);
        products(a, d);
        gather(d, count, SIZE, out + n * SIZE);
    }
}

/* out (MOMENTS) += derivatives of the pairs, weighted by by_pair, with the other moment from a. */
static inline void pair_slopes(const lanes *by_pair, const lanes *a, lanes *out)
{
    for (int degree = 1; degree <= DEGREES; degree++) {
        const REAL norm = 1 / (REAL)sqrt(2 * degree + 1);
        for (int i = 0; i < CHANNELS; i++)
            for (int j = i; j < CHANNELS; j++, by_pair++) {
                const lanes weight = norm * *by_pair;
                for (int h = degree * degree; h < (degree + 1) * (degree + 1); h++) {
                    out[h * CHANNELS + i] += weight * a[h * CHANNELS + j];
                    out[h * CHANNELS + j] += weight * a[h * CHANNELS + i];
                }
            }
    }
}

/* Derivatives out (MOMENTS) by moments a from derivatives g (SIZE) by their invariants. */
static inline void products_pull(const lanes *a, const lanes *g, lanes *out)
{
    for (int i = 0; i < MOMENTS; i++) out[i] = i < CHANNELS ? g[i] : (lanes){0};
    pair_slopes(g + CHANNELS, a, out);
    const lanes *cubic = g + CHANNELS + DEGREES * PAIRS;
    for (int t = 0; t < CUBICS; t++)
        for (int c = 0; c < CHANNELS; c++) {
            const int x = CUBIC[t][1] * CHANNELS + c, y = CUBIC[t][2] * CHANNELS + c, z = CUBIC[t][3] * CHANNELS + c;
            const lanes weight = FACTOR[t] * cubic[c * TRIPLES + CUBIC[t][0]];
            out[x] += weight * a[y] * a[z];
            out[y] += weight * a[x] * a[z];
            out[z] += weight * a[x] * a[y];
        }
}

/* Derivatives by moments (atoms, MOMENTS) from derivatives by invariants, given (atoms, SIZE). */
void invariants_pull(long atoms, const REAL *moments, const REAL *given, REAL *out)
{
    lanes a[MOMENTS], g[SIZE], sum[MOMENTS];
    for (long n = 0; n < atoms; n += LANES) {
        const int count = atoms - n < LANES ? (int)(atoms - n) : LANES;
        spread(moments + n * MOMENTS, count, MOMENTS, a);
        spread(given + n * SIZE, count, SIZE, g);
        products_pull(a, g, sum);
        gather(sum, count, MOMENTS, out + n * MOMENTS);
    }
}

/* What invariants_pull's result times change (atoms, MOMENTS) has as derivatives: by given (atoms, SIZE) and by moments (atoms, MOMENTS). */
void invariants_curve(long atoms, const REAL *moments, const REAL *given, const REAL *change, REAL *by_given, REAL *by_moments)
{
    lanes a[MOMENTS], g[SIZE], b[MOMENTS], d[SIZE], sum[MOMENTS];
    for (long n = 0; n < atoms; n += LANES) {
        const int count = atoms - n < LANES ? (int)(atoms - n) : LANES;
        spread(moments + n * MOMENTS, count, MOMENTS, a);
        spread(change + n * MOMENTS, count, MOMENTS, b);
        spread(given + n * SIZE, count, SIZE, g);
        memset(sum, 0, sizeof sum);
        lanes *to = d;
        for (int c = 0; c < CHANNELS; c++) *to++ = b[c];
        for (int degree = 1; degree <= DEGREES; degree++) {
            const REAL norm = 1 / (REAL)sqrt(2 * degree + 1);
            for (int i = 0; i < CHANNELS; i++)
                for (int j = i; j < CHANNELS; j++) {
                    lanes part = {0};
                    for (int h = degree * degree; h < (degree + 1) * (degree + 1); h++)
                        part += a[h * CHANNELS + i] * b[h * CHANNELS + j] + b[h * CHANNELS + i] * a[h * CHANNELS + j];
                    *to++ = norm * part;
                }
        }
        pair_slopes(g + CHANNELS, b, sum);
        const lanes *cubic = g + CHANNELS + DEGREES * PAIRS;
        for (int i = 0; i < TRIPLES * CHANNELS; i++) to[i] = (lanes){0};
        for (int t = 0; t < CUBICS; t++)
            for (int c = 0; c < CHANNELS; c++) {
                const int x = CUBIC[t][1] * CHANNELS + c, y = CUBIC[t][2] * CHANNELS + c, z = CUBIC[t][3] * CHANNELS + c;
                const lanes weight = FACTOR[t] * cubic[c * TRIPLES + CUBIC[t][0]];
                to[c * TRIPLES + CUBIC[t][0]] += FACTOR[t] * (b[x] * a[y] * a[z] + a[x] * b[y] * a[z] + a[x] * a[y] * b[z]);
                sum[x] += weight * (b[y] * a[z] + a[y] * b[z]);
                sum[y] += weight * (b[x] * a[z] + a[x] * b[z]);
                sum[z] += weight * (b[x] * a[y] + a[x] * b[y]);
            }
        gather(d, count, SIZE, by_given + n * SIZE);
        gather(sum, count, MOMENTS, by_moments + n * MOMENTS);
    }
}

/* Vectors (edges, 3) from centres to neighbours, which are at their positions (atoms, 3) and one of images (any, 3). */
void vectors_of(long atoms, const long *start, const int *neighbour, const double *positions, const int *image, const double *images,
                REAL *out)
{
    for (long n = 0; n < atoms; n++)
        for (long e = start[n]; e < start[n + 1]; e++) {
            const double *there = positions + 3L * neighbour[e], *here = positions + 3 * n, *offset = images + 3L * image[e];
            for (int i = 0; i < 3; i++) out[3 * e + i] = (REAL)(there[i] - here[i] + offset[i]);
        }
}

/* Forces (atoms, 3) and virials (frames, 3, 3), both set to zero before, from derivatives by vectors (edges, 3). */
void assemble(long atoms, const long *start, const int *neighbour, const long *frame, const REAL *vectors, const REAL *by_vector,
              REAL *forces, REAL *virials)
{
    for (long n = 0; n < atoms; n++) {
        REAL *virial = virials + 9 * frame[n], sum[9] = {0}, own[3] = {0};
        for (long e = start[n]; e < start[n + 1]; e++) {
            const REAL *v = vectors + 3 * e, *g = by_vector + 3 * e;
            REAL *other = forces + 3L * neighbour[e];
            for (int i = 0; i < 3; i++) {
                own[i] += g[i];
                other[i] -= g[i];
                for (int j = 0; j < 3; j++) sum[3 * i + j] += v[i] * g[j];
            }
        }
        for (int i = 0; i < 3; i++) forces[3 * n + i] += own[i];
        for (int i = 0; i < 9; i++) virial[i] += sum[i];
    }
}

/* The transpose of assemble: out (edges, 3) from derivatives by forces and virials. */
void assemble_back(long atoms, const long *start, const int *neighbour, const long *frame, const REAL *vectors, const REAL *by_force,
                   const REAL *by_virial, REAL *out)
{
    for (long n = 0; n < atoms; n++) {
        const REAL *w = by_virial + 9 * frame[n];
        for (long e = start[n]; e < start[n + 1]; e++) {
            const REAL *v = vectors + 3 * e;
            for (int j = 0; j < 3; j++)
                out[3 * e + j] = by_force[3 * n + j] - by_force[3L * neighbour[e] + j] + v[0] * w[j] + v[1] * w[3 + j] + v[2] * w[6 + j];
        }
    }
}
