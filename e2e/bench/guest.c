// Small workloads for `cargo xtask bench`: the same binary runs natively and in a guest.
//
// Freestanding (no C library), so that one static file of a few kilobytes can be pasted
// into any 32-bit x86 Linux. Each line of output is: name, nanoseconds, checksum. The
// checksums must be the same everywhere; a fast wrong answer is no answer.
typedef unsigned int u32;
typedef unsigned long long u64;

#ifdef __x86_64__
static long call4(long number, long a, long b, long c, long d) {
  long result;
  register long fourth __asm__("r10") = d;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth) : "rcx", "r11", "memory");
  return result;
}

enum { EXIT = 60, FORK = 57, WRITE = 1, WAIT4 = 61, EXECVE = 59, GETPPID = 110, CLOCK_GETTIME = 228 };
#else
static long call4(long number, long a, long b, long c, long d) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
  return result;
}

enum { EXIT = 1, FORK = 2, WRITE = 4, WAIT4 = 114, EXECVE = 11, GETPPID = 64, CLOCK_GETTIME = 265 };
#endif

static long call(long number, long a, long b, long c) { return call4(number, a, b, c, 0); }

struct timespec { long seconds, nanoseconds; };
static struct timespec started;

static void start(void) { call(CLOCK_GETTIME, 1, (long)&started, 0); }

static u32 length(const char *text) { u32 n = 0; while (text[n]) n++; return n; }

static void number(u64 value) {
  // Division by ten by hand: 64-bit division needs a library.
  char text[24], *end = text + sizeof text, *at = end;
  u32 high = value >> 32, low = (u32)value;
  do {
    u32 rest = 0;
    u32 words[4] = { high >> 16, high & 0xffff, low >> 16, low & 0xffff };
    for (int i = 0; i < 4; i++) { u32 part = rest << 16 | words[i]; words[i] = part / 10; rest = part % 10; }
    high = words[0] << 16 | words[1];
    low = words[2] << 16 | words[3];
    *--at = '0' + rest;
  } while (high | low);
  call(WRITE, 1, (long)at, end - at);
}

static void stop(const char *name, u32 checksum) {
  struct timespec now;
  call(CLOCK_GETTIME, 1, (long)&now, 0);
  u64 passed = (u64)(now.seconds - started.seconds) * 1000000000ull;
  passed += now.nanoseconds - started.nanoseconds;
  call(WRITE, 1, (long)name, length(name));
  call(WRITE, 1, (long)" ", 1);
  number(passed);
  call(WRITE, 1, (long)" ", 1);
  number(checksum);
  call(WRITE, 1, (long)"\n", 1);
}

static unsigned char area[2 << 20];

// Sieve of Eratosthenes and a hash over it: branches, shifts, byte access.
static void integer(void) {
  u32 checksum = 2166136261u;
  start();
  for (int round = 0; round < 10; round++) {
    for (u32 i = 0; i < sizeof area; i++) area[i] = 1;
    for (u32 i = 2; i * i < sizeof area; i++)
      if (area[i]) for (u32 j = i * i; j < sizeof area; j += i) area[j] = 0;
    for (u32 i = 2; i < sizeof area; i++) checksum = (checksum ^ area[i]) * 16777619u;
  }
  stop("integer", checksum);
}

// Copies of 1 MiB by `rep movsb`, as memcpy does it on such processors.
static void memory(void) {
  start();
  for (int round = 0; round < 400; round++) {
    void *to = area, *from = area + (1 << 20);
    u32 count = 1 << 20;
    area[(1 << 20) + round] = (unsigned char)round;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  }
  u32 checksum = 0;
  for (u32 i = 0; i < 1 << 20; i++) checksum = checksum * 31 + area[i];
  stop("memory", checksum);
}

// Product of two matrices of doubles, by SSE2.
static void floating(void) {
  enum { N = 128 };
  static double a[N][N], b[N][N], c[N][N];
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) { a[i][j] = i + j; b[i][j] = i - j; }
  start();
  for (int round = 0; round < 4; round++)
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) {
        double sum = round;
        for (int k = 0; k < N; k++) sum += a[i][k] * b[k][j];
        c[i][j] = sum;
      }
  double sum = 0;
  for (int i = 0; i < N; i++) sum += c[i][i / 2];
  stop("float", (u32)(int)sum);
}

static void syscalls(void) {
  long parent = 0;
  start();
  for (int i = 0; i < 50000; i++) parent |= call(GETPPID, 0, 0, 0);
  stop("syscall", parent != 0);
}

static void processes(char *self) {
  char *arguments[] = { self, "x", 0 };
  int good = 0;
  start();
  for (int i = 0; i < 100; i++) {
    long child = call(FORK, 0, 0, 0);
    if (child == 0) { call(EXECVE, (long)self, (long)arguments, 0); call(EXIT, 1, 0, 0); }
    int status = 1;
    call4(WAIT4, child, (long)&status, 0, 0);
    good += status == 0;
  }
  stop("fork+exec", good);
}

static int same(const char *one, const char *other) {
  while (*one && *one == *other) one++, other++;
  return *one == *other;
}

__attribute__((used)) static void run(long *stack) {
  char *self = (char *)stack[1], *what = (char *)stack[2];
  // Twice: what an emulator compiles in the first round is used in the second.
  for (int round = 0; round < 2 && stack[0] > 1; round++) {
    if (same(what, "integer")) integer();
    if (same(what, "memory")) memory();
    if (same(what, "float")) floating();
    if (same(what, "syscall")) syscalls();
    if (same(what, "fork+exec")) processes(self);
  }
  call(EXIT, 0, 0, 0);
}

#ifdef __x86_64__
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call run\n");
#else
__asm__(".globl _start\n_start: mov %esp, %eax\n and $-16, %esp\n sub $12, %esp\n push %eax\n call run\n");
#endif
