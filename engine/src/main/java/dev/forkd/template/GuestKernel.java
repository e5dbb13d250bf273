package dev.forkd.template;

import java.nio.file.Path;
import java.util.Optional;

/**
 * A kernel guests can boot.
 *
 * @param release as {@code uname -r} prints it in the guest
 * @param image the compressed kernel image (bzImage)
 * @param sha256 of the image, in hexadecimal
 * @param modules the folder that holds its modules ({@code …/lib/modules/RELEASE}); absent if none
 *     was found, in which case every driver must be built in
 */
public record GuestKernel(String release, Path image, String sha256, Optional<Path> modules) {}
