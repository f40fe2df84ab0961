/** For messages about writes that cannot go to the bucket by themselves. */
export const WAYS_OUT =
  'Save them with "bucketdisk cache export VOLUME FILE", then give them up with "bucketdisk cache drop VOLUME"';

/** The same for a log of which not all can be read. */
export const WAYS_OUT_OF_DAMAGE =
  'Save what can be read with "bucketdisk cache export VOLUME FILE", then give up the rest with "bucketdisk cache drop VOLUME --force"';

/** Where nothing can be read. */
export const GIVE_UP = 'Give it up with "bucketdisk cache drop VOLUME --force"';
