package dev.forkd.linux;

import java.io.IOException;

/** A system call that failed, with its error number as in errno(3). */
public final class ErrnoException extends IOException {
  private static final long serialVersionUID = 1L;

  private final int errno;

  ErrnoException(String what, int errno) {
    super(what + " failed: errno " + errno + " (" + name(errno) + ")");
    this.errno = errno;
  }

  /** The error number. */
  public int errno() {
    return errno;
  }

  private static String name(int errno) {
    return switch (errno) {
      case 1 -> "EPERM, not permitted";
      case 2 -> "ENOENT, no such file";
      case 3 -> "ESRCH, no such process";
      case 4 -> "EINTR";
      case 5 -> "EIO";
      case 9 -> "EBADF";
      case 11 -> "EAGAIN";
      case 12 -> "ENOMEM, out of memory";
      case 13 -> "EACCES, permission denied";
      case 14 -> "EFAULT, bad address";
      case 22 -> "EINVAL";
      case 25 -> "ENOTTY, not supported here";
      case 28 -> "ENOSPC, no space left";
      case 38 -> "ENOSYS, the kernel has no such call";
      case 95 -> "EOPNOTSUPP";
      default -> "see errno(3)";
    };
  }
}
