/** Tests of the house rules: who may know whom, and how the sources look. */
@NullMarked
package dev.forkd.house;

import org.jspecify.annotations.NullMarked;
