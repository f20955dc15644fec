/* A program for i386 that needs nothing but a kernel: shows that 32-bit programs run, on the
 * 64-bit kernel as well. Prints one line with a computed answer:
 *
 *   32-bit program: 1229 primes below 10000, 0.785 is a quarter of pi
 *
 * The first number is counted by integer instructions, the second summed up on the x87.
 */
typedef unsigned int u32;

_Static_assert(sizeof(void *) == 4, "compile with -m32");

enum { EXIT = 1, WRITE = 4 };
enum { LIMIT = 10000, TERMS = 1000 };

static int call(int number, int a, const void *b, int c) {
  int result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
  return result;
}

static char line[80];
static u32 length;

static void text(const char *from) {
  while (*from) line[length++] = *from++;
}

/* Decimal, with zeros in front up to this many digits. */
static void number(u32 value, int digits) {
  if (value >= 10 || digits > 1) number(value / 10, digits - 1);
  line[length++] = '0' + value % 10;
}

static u32 primes(void) {
  static char composite[LIMIT];
  u32 count = 0;
  for (u32 n = 2; n < LIMIT; n++) {
    if (composite[n]) continue;
    count++;
    for (u32 multiple = n * n; multiple < LIMIT; multiple += n) composite[multiple] = 1;
  }
  return count;
}

/* Leibniz' series, in thousandths. */
static u32 quarter_of_pi(void) {
  long double sum = 0;
  for (int k = TERMS; k-- > 0;) sum += (k % 2 ? -1.0L : 1.0L) / (2 * k + 1);
  return (u32)(int)(sum * 1000);
}

void _start(void) {
  text("32-bit program: ");
  number(primes(), 1);
  text(" primes below ");
  number(LIMIT, 1);
  text(", 0.");
  number(quarter_of_pi(), 3);
  text(" is a quarter of pi\n");
  int written = call(WRITE, 1, line, length);
  call(EXIT, written == (int)length ? 0 : 1, 0, 0);
  for (;;) {}
}
