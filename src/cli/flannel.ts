console.log("flannel");
