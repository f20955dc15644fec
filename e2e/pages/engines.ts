// The engines with a real kernel, and what the specs have to know of each. All that is said
// of a kernel, of its console, its network, and of saving it is said of each in this list.
import { test } from "@playwright/test";

export type Kernel = {
  /** Its name in the address and for programs. */
  name: string;
  /** The image that it boots. */
  image: "i386" | "amd64";
  /** Guest memory in MiB: the least that boots quickly, much, and too little for it. */
  memory: { small: number; large: number; impossible: number };
  /** What `uname -m` says in it. */
  machine: RegExp;
  /** The file of its kernel, as the end of an address. */
  kernelFile: string;
};

export const KERNELS: Kernel[] = [
  { name: "v86", image: "i386", memory: { small: 128, large: 512, impossible: 16 }, machine: /^i686$/m, kernelFile: "/bzImage" },
  { name: "x86-64", image: "amd64", memory: { small: 128, large: 512, impossible: 16 }, machine: /^x86_64$/m, kernelFile: "/vmlinux" },
];

/** The one that `engine=kernel` means. */
export const BEST = KERNELS[1]!;

/** Says the same of each of them. */
export function eachKernel(say: (kernel: Kernel) => void): void {
  for (const kernel of KERNELS) test.describe(kernel.name, () => say(kernel));
}
